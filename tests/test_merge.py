"""The merge of N nodes: every line once, in order, whatever the order of the inputs; what does not go
together is refused by name, and the older merge stays."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merges import bytes_of, machine, made_cctf, node_document, quality, rss, with_manifest
from runs import T0, Row, line

from tracekit.errors import TracekitError, UsageError
from tracekit.files import reading
from tracekit.merge.build import Result, merge
from tracekit.merge.inputs import paths_of
from tracekit.validate import find_problems


def merged(tmp_path: Path, *inputs: Path | str) -> Path:
    """The merge of these inputs, found valid."""
    result = merged_result(tmp_path, *inputs)
    assert list(find_problems(result.folder)) == []
    return result.folder


def merged_result(tmp_path: Path, *inputs: Path | str) -> Result:
    (tmp_path / "out").mkdir(exist_ok=True)
    return merge([str(one) for one in inputs], tmp_path / "out" / "r1")


def lines_of(folder: Path, name: str) -> list[bytes]:
    return (folder / name).read_bytes().splitlines(keepends=True)


def document(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_bytes())


def test_lines_of_two_nodes_come_in_time_and_equal_times_by_node(tmp_path: Path) -> None:
    b = made_cctf(
        tmp_path / "b", "b", {"proc_rss.jsonl": [rss("b", 0), rss("b", 1000), rss("b", 1000, pid=8)]}
    )
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": [rss("a", 500), rss("a", 1000, pid=9)]})
    wanted = [rss("b", 0), rss("a", 500), rss("a", 1000, pid=9), rss("b", 1000), rss("b", 1000, pid=8)]
    assert lines_of(merged(tmp_path, b, a), "proc_rss.jsonl") == [line(row) for row in wanted]


def test_a_line_stays_byte_for_byte_whatever_its_key_order_and_blanks(tmp_path: Path) -> None:
    odd = b'{"node": "a", "x": 1.50, "pid":7,"rss_kb":1,"starttime":2 ,"ts_ms":%d}\n' % T0
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": odd})
    b = made_cctf(tmp_path / "b", "b", {"proc_rss.jsonl": [rss("b", 0)]})
    assert lines_of(merged(tmp_path, a, b), "proc_rss.jsonl") == [odd, line(rss("b", 0))]


def test_requests_without_a_stamp_of_their_start_come_last_by_their_end(tmp_path: Path) -> None:
    def request(node: str, begin: int | None, end: int) -> Row:
        return {"ts_enqueue": None if begin is None else T0 + begin, "node": node, "ts_end": T0 + end}

    rows_a = [request("a", 5, 9), request("a", None, 3), request("a", None, 7)]
    rows_b = [request("b", 6, 8), request("b", None, 2), request("b", None, 7)]
    a = made_cctf(tmp_path / "a", "a", {"invocations.jsonl": rows_a})
    b = made_cctf(tmp_path / "b", "b", {"invocations.jsonl": rows_b})
    wanted = [rows_a[0], rows_b[0], rows_b[1], rows_a[1], rows_a[2], rows_b[2]]
    out = merged(tmp_path, a, b)
    assert lines_of(out, "invocations.jsonl") == [line(row) for row in wanted]
    entry = next(one for one in document(out, "manifest.json")["files"] if one["name"] == "invocations.jsonl")
    assert (entry["first_ts"], entry["last_ts"], entry["records"]) == (T0 + 5, T0 + 6, 6)


NODES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_merge_is_the_plain_sort_of_all_lines_and_the_order_of_inputs_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("plain")
    rows: dict[str, list[Row]] = {}
    for node in data.draw(NODES):
        times = sorted(data.draw(st.lists(st.integers(0, 6), max_size=12)))
        rows[node] = [rss(node, ms, pid=number + 1) for number, ms in enumerate(times)]
    inputs = [made_cctf(tmp_path / node, node, {"proc_rss.jsonl": rows[node]}) for node in rows]
    keyed = [(row["ts_ms"], node, number, row) for node in rows for number, row in enumerate(rows[node])]
    wanted = b"".join(line(row) for *_, row in sorted(keyed, key=lambda one: one[:3]))
    block = data.draw(st.sampled_from([1, 100, 300, 1 << 16]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        first = bytes_of(merged(tmp_path, *inputs))
        assert first["proc_rss.jsonl"] == wanted
        assert bytes_of(merged(tmp_path, *data.draw(st.permutations(inputs)))) == first


def _written(row: Row, way: str) -> bytes:
    """A line of another writer: its number in another place, or with a blank before it."""
    if way == "last":
        row = {**{name: value for name, value in row.items() if name != "ts_ms"}, "ts_ms": row["ts_ms"]}
    text = line(row)
    return text.replace(b'"ts_ms":', b'"ts_ms": ', 1) if way == "blank" else text


TICKS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 30), st.sampled_from(["plain"] * 3 + ["last", "blank"])),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_ticks_of_many_rows_are_merged_as_their_lines_would_be(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("ticks")
    keyed: list[tuple[int, str, int, bytes]] = []
    inputs: list[Path] = []
    for node in data.draw(NODES):
        at_ms, lines = 0, list[bytes]()
        for wait_ms, count, way in data.draw(TICKS):
            at_ms += wait_ms
            for _ in range(count):
                lines.append(_written(rss(node, at_ms, pid=len(lines) + 1), way))
                keyed.append((at_ms, node, len(lines), lines[-1]))
        inputs.append(made_cctf(tmp_path / node, node, {"proc_rss.jsonl": b"".join(lines)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", data.draw(st.sampled_from([500, 1500, 1 << 16])))
        out = merged(tmp_path, *inputs)
    assert lines_of(out, "proc_rss.jsonl") == [text for *_, text in sorted(keyed)]
    entry = next(one for one in document(out, "manifest.json")["files"] if one["name"] == "proc_rss.jsonl")
    assert entry["records"] == len(keyed)


@pytest.mark.parametrize("way", ["last", "blank"])
@pytest.mark.parametrize("odd_at", [0, 1, 24, 25, 26, 49])
def test_a_row_whose_number_is_written_in_another_way_keeps_its_place(
    tmp_path: Path, way: str, odd_at: int
) -> None:
    rows = [rss("a", at_ms, pid=number + 1) for number, at_ms in enumerate([0] * 25 + [2] * 25)]
    lines = [_written(row, way if number == odd_at else "plain") for number, row in enumerate(rows)]
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": b"".join(lines)})
    b = made_cctf(tmp_path / "b", "b", {"proc_rss.jsonl": [rss("b", 1)]})
    wanted = [*lines[:25], line(rss("b", 1)), *lines[25:]]
    assert lines_of(merged(tmp_path, a, b), "proc_rss.jsonl") == wanted


def test_the_documents_are_brought_together(tmp_path: Path) -> None:
    def inventory(*names: str, app: str | None = "shop") -> bytes:
        modules = [{"module_id": name, "name": None, "type": "http"} for name in names]
        return json.dumps({"app_id": app, "modules": modules}).encode()

    a = made_cctf(tmp_path / "a", "a", {"module_inventory.json": inventory("cart", "pay")})
    b = made_cctf(tmp_path / "b", "b", {"module_inventory.json": inventory("pay", "ship")})
    c = made_cctf(tmp_path / "c", "c", {"module_inventory.json": inventory(app=None)})
    out = merged(tmp_path, c, b, a)
    assert [one["node_id"] for one in document(out, "nodes.json")] == ["a", "b", "c"]
    assert [one["link"] for one in document(out, "links.json")] == ["a.nic", "b.nic", "c.nic"]
    assert [(one["node"], one["run_id"]) for one in document(out, "run_meta.json")] == [
        ("a", "r1"),
        ("b", "r1"),
        ("c", "r1"),
    ]
    modules = document(out, "module_inventory.json")
    assert (modules["app_id"], [one["module_id"] for one in modules["modules"]]) == (
        "shop",
        ["cart", "pay", "ship"],
    )
    assert document(out, "quality.json")["nodes"] == {node: quality() for node in "abc"}
    assert document(out, "manifest.json")["nodes"] == ["a", "b", "c"]


def test_two_apps_make_an_array_of_inventories(tmp_path: Path) -> None:
    for node, app in (("a", "shop"), ("b", "mail")):
        inventory = {"app_id": app, "modules": [{"module_id": "svc"}], "node": node}
        made_cctf(tmp_path / node, node, {"module_inventory.json": json.dumps(inventory).encode()})
    out = merged(tmp_path, tmp_path / "a", tmp_path / "b")
    assert [one["app_id"] for one in document(out, "module_inventory.json")] == ["mail", "shop"]


def test_rejected_lines_tell_their_node(tmp_path: Path) -> None:
    for node in "ab":
        bad = {"file": "links.jsonl", "line": 3, "reason": "json", "text": node}
        account = {"lines": 1, "accepted": 0, "rejected": {"json": 1}, "duplicates": 0}
        files = {
            "rejected.jsonl": [bad],
            "quality.json": json.dumps(quality({"links.jsonl": account})).encode(),
        }
        made_cctf(tmp_path / node, node, files)
    found = [
        json.loads(one)
        for one in lines_of(merged(tmp_path, tmp_path / "b", tmp_path / "a"), "rejected.jsonl")
    ]
    assert [(one["node"], one["text"]) for one in found] == [("a", "a"), ("b", "b")]


def test_a_load_generators_node_is_known_by_its_lines(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": [rss("a", 0)]})
    sent = {"ts_enqueue": T0, "node": "client", "ts_end": T0 + 1, "status": 200}
    client = made_cctf(tmp_path / "c", "client", {"events_client.jsonl": [sent]})
    (client / "nodes.json").unlink()
    (client / "links.json").unlink()
    (client / "run_meta.json").write_text('{"run_id":"r1"}')
    out = merged(tmp_path, a, with_manifest(client, []))
    assert document(out, "nodes.json")[1] == {
        **node_document("client", stage=None, cpu_cores=None, mem_mb=None),
    }
    assert document(out, "run_meta.json")[1]["node"] == "client"


def test_archives_parents_and_patterns_are_inputs_too(tmp_path: Path) -> None:
    plain = [
        made_cctf(tmp_path / "in" / node / "cctf", node, {"proc_rss.jsonl": [rss(node, 0)]}) for node in "abc"
    ]
    wanted = bytes_of(merged(tmp_path, *plain))
    archive = tmp_path / "in" / "b.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(plain[1].parent, arcname="./b")
    shutil.rmtree(plain[1].parent)
    (tmp_path / "in 2").mkdir()
    shutil.move(plain[2].parent, tmp_path / "in 2")
    found = paths_of(f"{tmp_path}/in/* '{tmp_path}/in 2/c'")
    assert found == [f"{tmp_path}/in/a", f"{tmp_path}/in/b.tar.gz", f"{tmp_path}/in 2/c"]
    assert bytes_of(merged(tmp_path, *found)) == wanted


def test_the_same_input_twice_is_taken_once_and_said(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": [rss("a", 0)]})
    copy = shutil.copytree(a, tmp_path / "copy")
    once = bytes_of(merged(tmp_path, a))
    result = merged_result(tmp_path, copy, a)
    assert bytes_of(result.folder) == once
    assert result.twice == [f"{a} is the same as {copy}: taken once"]


def test_a_file_that_the_format_does_not_know_is_left_out_and_said(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", {"weather.json": b"{}"})
    (a / "notes.txt").write_text("mine")
    result = merged_result(tmp_path, a)
    assert result.unknown == [("a", "weather.json"), ("a", "notes.txt")]
    assert not (result.folder / "weather.json").exists()


# --- what is refused


def refusal(tmp_path: Path, *inputs: Path | str) -> str:
    """What is said; an older merge must be what it was, and nothing else be left."""
    older = tmp_path / "out" / "r1"
    older.mkdir(parents=True)
    (older / "manifest.json").write_text("older")
    with pytest.raises(TracekitError) as told:
        merged_result(tmp_path, *inputs)
    assert bytes_of(older) == {"manifest.json": b"older"}
    assert [path.name for path in older.parent.iterdir()] == ["r1"]
    assert told.value.exit_code == 1
    return str(told.value)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two nodes."""
    a = made_cctf(tmp_path / "a", "a", {"proc_rss.jsonl": [rss("a", 0), rss("a", 1000)]})
    return a, made_cctf(tmp_path / "b", "b", {"proc_rss.jsonl": [rss("b", 0)]})


def test_one_node_id_from_two_machines_names_both(tmp_path: Path, two: tuple[Path, Path]) -> None:
    other = made_cctf(tmp_path / "c", "a", **machine("f"))
    told = refusal(tmp_path, *two, other)
    assert (
        f"NODE_ID a is in {two[0]} (machine aaaaaaaaaaaa, boot aaaaaaaa-boo) and in {other} (machine ffff"
        in told
    )
    assert "record one of them again with a NODE_ID of its own" in told


def test_a_node_that_was_booted_anew_is_another_machine(tmp_path: Path, two: tuple[Path, Path]) -> None:
    other = made_cctf(tmp_path / "c", "a", boot_id="another")
    assert "not the same machine" in refusal(tmp_path, *two, other)


def test_two_versions_of_one_node_are_not_two_machines(tmp_path: Path, two: tuple[Path, Path]) -> None:
    later = made_cctf(tmp_path / "c", "a", {"proc_rss.jsonl": [rss("a", 0)]})
    assert "two versions of one node" in refusal(tmp_path, *two, later)


def test_two_runs_name_both(tmp_path: Path, two: tuple[Path, Path]) -> None:
    other = made_cctf(tmp_path / "c", "c", run_id="r2")
    told = refusal(tmp_path, *two, other)
    assert f"{two[0]} is of run r1, {other} of run r2" in told


def test_another_run_than_the_one_that_is_named(tmp_path: Path) -> None:
    other = made_cctf(tmp_path / "c", "c", run_id="r2")
    assert "is of run r2, RUN_ID is r1: give RUN_ID=r2" in refusal(tmp_path, other)


def _edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"rss_kb":64', b'"rss_kb":65'), (b'"rss_kb":64', b'"rss_kb":{}'), (b'"pid":7', b'"pid":"')],
    ids=["a number", "a type", "no JSON"],
)
def test_an_edited_file_is_refused_by_name(
    tmp_path: Path, two: tuple[Path, Path], old: bytes, new: bytes
) -> None:
    _edit(two[0] / "proc_rss.jsonl", old, new)
    told = refusal(tmp_path, two[1], two[0])
    assert f"{two[0]}: proc_rss.jsonl" in told
    assert "copied" in told


def test_an_edited_document_is_refused_by_name(tmp_path: Path, two: tuple[Path, Path]) -> None:
    _edit(two[0] / "quality.json", b"true", b"null")
    assert f"{two[0]}: quality.json is not the file that its manifest lists" in refusal(tmp_path, *two)


def test_a_missing_file_and_a_shorter_one_are_copied_by_half(tmp_path: Path, two: tuple[Path, Path]) -> None:
    with (two[0] / "proc_rss.jsonl").open("ab") as stream:
        stream.truncate(9)
    assert f"{two[0]}: proc_rss.jsonl has 9 bytes" in refusal(tmp_path, *two)
    shutil.rmtree(tmp_path / "out")
    (two[0] / "proc_rss.jsonl").unlink()
    assert f"{two[0]}: proc_rss.jsonl is missing" in refusal(tmp_path, *two)


def test_a_directory_without_a_manifest_is_copied_by_half(tmp_path: Path, two: tuple[Path, Path]) -> None:
    (two[1] / "manifest.json").unlink()
    told = refusal(tmp_path, *two)
    assert f"{two[1]}: no manifest.json there: it was copied by half, or never parsed" in told


def test_a_node_that_is_not_there(tmp_path: Path, two: tuple[Path, Path]) -> None:
    assert "no such directory or archive" in _refused_words(f"{two[0]} {tmp_path}/gone*")
    with pytest.raises(UsageError, match="IN is not given"):
        paths_of(" ")


def _refused_words(words: str) -> str:
    with pytest.raises(TracekitError) as told:
        paths_of(words)
    return str(told.value)


def test_an_archive_that_is_cut_off(tmp_path: Path, two: tuple[Path, Path]) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(two[0], arcname="cctf")
    archive.write_bytes(archive.read_bytes()[:-200])
    assert f"{archive}: not a whole .tar.gz" in refusal(tmp_path, archive, two[1])


def test_a_bad_line_under_a_true_manifest_is_named(tmp_path: Path, two: tuple[Path, Path]) -> None:
    bad = made_cctf(tmp_path / "c", "c", {"proc_rss.jsonl": [rss("c", 0), {**rss("c", 1), "pid": "7"}]})
    assert f"{bad}: proc_rss.jsonl:2: Expected `int`" in refusal(tmp_path, *two, bad)


def _put(folder: Path, name: str, data: bytes) -> None:
    """Other bytes of as many lines, which the manifest tells as they are."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    entry = next(one for one in manifest["files"] if one["name"] == name)
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(json.dumps(manifest).encode())


@pytest.mark.parametrize("are_joined", [False, True])
@pytest.mark.parametrize(
    ("whole", "cut"), [(b'{"ts_ms":', b'{\n"ts_ms":'), (b'"pid":', b'"pid":\n'), (b"}\n", b"\n}\n")]
)
def test_a_record_over_two_lines_is_named_also_where_two_on_one_make_good_for_it(
    tmp_path: Path, two: tuple[Path, Path], whole: bytes, cut: bytes, are_joined: bool
) -> None:
    lines = [line(rss("c", 5, pid=pid)) for pid in range(1, 40)]
    bad = made_cctf(tmp_path / "c", "c", {"proc_rss.jsonl": b"".join(lines)})
    lines[20] = lines[20].replace(whole, cut)
    if are_joined:
        lines[29:31] = [lines[29][:-1] + lines[30]]
    _put(bad, "proc_rss.jsonl", b"".join(lines))
    assert f"{bad}: proc_rss.jsonl:21: " in refusal(tmp_path, *two, bad)


def test_lines_out_of_order_are_named(tmp_path: Path, two: tuple[Path, Path]) -> None:
    bad = made_cctf(tmp_path / "c", "c", {"proc_rss.jsonl": [rss("c", 9), rss("c", 10), rss("c", 3)]})
    assert f"{bad}: proc_rss.jsonl:3: is not in the order of ts_ms" in refusal(tmp_path, *two, bad)


def test_a_merge_is_no_input(tmp_path: Path, two: tuple[Path, Path]) -> None:
    out = merged(tmp_path, *two).rename(tmp_path / "older")
    shutil.rmtree(tmp_path / "out")
    assert f"{out}: is a merge already, of a, b" in refusal(tmp_path, out)
