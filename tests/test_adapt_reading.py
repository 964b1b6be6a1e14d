"""Input of any shape, ids, order, and follow mode: what every adapter shares."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Checkout, clean_environment
from hypothesis import given
from hypothesis import strategies as st
from loopback import wait_for

from tracekit.adapt import ordering, reading
from tracekit.adapt.appending import Appender
from tracekit.adapt.ids import Ids, padded, salts, traceparent
from tracekit.adapt.ordering import SortedFile
from tracekit.errors import TracekitError

T0_S = 1767225600


def log_line(index: int) -> bytes:
    """A line of the format "timed": a request that ended index seconds after T0_S, 250 ms after its start."""
    head = b'10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /%d HTTP/1.1" 200 5 "-" "-" "-"' % index
    return head + b" %d.500 0.250\n" % (T0_S + index)


def nginx(checkout: Checkout, run_id: str, *words: object, **env: str) -> "subprocess.CompletedProcess[str]":
    program = checkout.root / "tools" / "adapters" / "nginx.py"
    return checkout.run(
        sys.executable, "-I", str(program), *map(str, words), RUN_ID=run_id, NODE_ID="n1", **env
    )


def paths_of(checkout: Checkout, run_id: str, name: str = "nginx") -> list[str]:
    data = (checkout.logs(run_id) / f"invocations.{name}.jsonl").read_bytes()
    return [json.loads(line)["path"] for line in data.splitlines()]


# --- pieces into lines


@given(
    st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))), st.data()
)
def test_any_pieces_of_a_text_give_its_lines_with_their_numbers(
    lines: list[bytes], data: st.DataObject
) -> None:
    ending = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = [line for line in lines if not line.startswith(b"\xef\xbb\xbf")]
    text = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + b"".join(line + ending for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    chunks = [text[one:other] for one, other in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    blocks = list(reading.split(iter(chunks), "x"))
    found = [(block.first + index, line) for block in blocks for index, line in enumerate(block.lines())]
    assert found == list(enumerate(lines, 1))


def test_a_line_beyond_the_limit_is_told_and_its_neighbours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINE_LIMIT", 100)
    chunks = [b"a\n", b"x" * 90, b"x" * 90, b"x" * 90 + b"\nb\n"]
    blocks = list(reading.split(iter(chunks), "x"))
    assert [(block.first, block.is_long) for block in blocks] == [(1, False), (2, True), (3, False)]
    assert blocks[2].lines() == [b"b"]


def test_plain_packed_and_rotated_logs_are_read_in_any_order_to_the_same_bytes(
    checkout: Checkout, tmp_path: Path
) -> None:
    lines = [log_line(index) for index in range(60)]
    (tmp_path / "access.log.2.gz").write_bytes(b"".join(gzip.compress(line) for line in lines[:20]))
    (tmp_path / "access.log.1").write_bytes(b"\xef\xbb\xbf" + b"".join(lines[20:40]).replace(b"\n", b"\r\n"))
    (tmp_path / "access.log").write_bytes(b"".join(lines[40:]))
    names = [tmp_path / name for name in ("access.log", "access.log.1", "access.log.2.gz")]
    results = []
    for order in (names, names[::-1], [tmp_path / "access.log*"], [*names, names[0]]):
        assert nginx(checkout, "sets", *order).returncode == 0
        results.append((checkout.logs("sets") / "invocations.nginx.jsonl").read_bytes())
    assert paths_of(checkout, "sets") == [f"/{index}" for index in range(60)]
    assert len(set(results)) == 1


def test_equal_requests_on_both_sides_of_a_rotation_are_two(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("access.log.1", "access.log"):
        (tmp_path / name).write_bytes(log_line(1))
    assert nginx(checkout, "sides", tmp_path / "access.log*").returncode == 0
    assert checkout.make("parse", "RUN_ID=sides").returncode == 0
    parsed = checkout.logs("sides") / "cctf" / "invocations.jsonl"
    assert len(parsed.read_bytes().splitlines()) == 2


def test_a_cut_member_gives_what_it_holds_and_is_told(checkout: Checkout, tmp_path: Path) -> None:
    text = b"".join(log_line(index) for index in range(2000))
    (tmp_path / "a.gz").write_bytes(gzip.compress(text)[:-2000])
    done = nginx(checkout, "cut", tmp_path / "a.gz")
    assert "cut off" in done.stderr
    assert 0 < len(paths_of(checkout, "cut")) < 2000


def test_other_packings_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd12345")
    with pytest.raises(TracekitError, match="zstd"):
        list(reading.read(str(tmp_path / "a.zst"), print))


def test_names_with_blanks_stand_in_quotes(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "a b.log").write_bytes(log_line(1))
    (tmp_path / "c.log").write_bytes(log_line(2))
    words = f"'{tmp_path}/a b.log' {tmp_path}/c*"
    done = checkout.make("adapt", "SOURCE=nginx", "RUN_ID=blanks", f"IN={words}")
    assert done.returncode == 0, done.stderr
    assert paths_of(checkout, "blanks") == ["/1", "/2"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["IN=/no/such/file"], 1),
        (["IN=/tmp"], 1),
        ([], 2),
        (["IN='"], 2),
        (["SOURCE=nosuch", "IN=/dev/null"], 2),
        (["IN=/dev/null", "LOG_FORMAT=without"], 2),
        (["IN=/dev/null", "NGINX_CONF=/dev/null"], 2),
        (["IN=/dev/null", "ADAPT_OPTIONS=--nosuch"], 2),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_the_earlier_result(
    checkout: Checkout, tmp_path: Path, words: list[str], code: int
) -> None:
    (tmp_path / "a.log").write_bytes(log_line(1))
    assert nginx(checkout, "kept", tmp_path / "a.log").returncode == 0
    done = checkout.make("adapt", "SOURCE=nginx", "RUN_ID=kept", *words)
    assert done.returncode == 2
    assert f"Error {code}" in done.stderr
    assert paths_of(checkout, "kept") == ["/1"]
    assert not [path for path in checkout.logs("kept").iterdir() if path.name.startswith(".")]


def test_a_missing_log_leaves_no_run_behind(checkout: Checkout) -> None:
    assert nginx(checkout, "never", "/no/such/file").returncode == 1
    assert not checkout.logs("never").exists()


def test_stdin_is_a_source_and_an_empty_log_leaves_an_empty_file(checkout: Checkout, tmp_path: Path) -> None:
    program = ROOT / "tools" / "adapters" / "nginx.py"
    env = clean_environment(RUN_ID="in", NODE_ID="n1")
    command = [sys.executable, "-I", str(checkout.root / "tools" / "adapters" / program.name), "-"]
    done = subprocess.run(command, input=log_line(3), env=env, capture_output=True, check=False)
    assert done.returncode == 0
    assert paths_of(checkout, "in") == ["/3"]
    (tmp_path / "empty").touch()
    assert nginx(checkout, "in", tmp_path / "empty").returncode == 0
    assert paths_of(checkout, "in") == []


def test_node_and_stage_come_from_the_run_where_none_are_given(checkout: Checkout, tmp_path: Path) -> None:
    run = checkout.logs("started")
    run.mkdir(parents=True)
    (run / "node_meta.json").write_text('{"run_id":"started","node":"vm7","stage":"fog"}')
    (tmp_path / "a.log").write_bytes(log_line(1))
    program = checkout.root / "tools" / "adapters" / "nginx.py"
    done = checkout.run(sys.executable, "-I", str(program), str(tmp_path / "a.log"), RUN_ID="started")
    assert done.returncode == 0
    row = json.loads((run / "invocations.nginx.jsonl").read_bytes())
    assert (row["node"], row["stage"]) == ("vm7", "fog")


def test_parse_takes_what_adapt_wrote(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"".join(log_line(index) for index in range(5)) + b"junk\n")
    assert nginx(checkout, "parsed", tmp_path / "a.log").returncode == 3
    assert nginx(checkout, "parsed", tmp_path / "a.log", TAG="again").returncode == 3
    done = checkout.make("parse", "RUN_ID=parsed")
    assert done.returncode == 0, done.stderr
    assert "no part of the format" not in done.stderr
    rows = (checkout.logs("parsed") / "cctf" / "invocations.jsonl").read_bytes().splitlines()
    assert len(rows) == 5  # the same lines under a tag have the same ids


# --- order and ids


@given(st.lists(st.integers(0, 99), max_size=60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_lines_in_any_order_come_out_in_order(numbers: list[int], window: int, dice: random.Random) -> None:
    lines = [b"%02d %d\n" % (number, index) for index, number in enumerate(numbers)]
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"tracekit-test-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    before = ordering.WINDOW, ordering._STEP, ordering._MOST_RUNS
    ordering.WINDOW, ordering._STEP, ordering._MOST_RUNS = window, 1, 3
    try:
        file = SortedFile(folder / "x.jsonl")
        while lines:
            count = dice.randint(1, 4)
            file.add(lines[:count])
            del lines[:count]
        file.close()
    finally:
        ordering.WINDOW, ordering._STEP, ordering._MOST_RUNS = before
    wanted = sorted(b"%02d %d\n" % (number, index) for index, number in enumerate(numbers))
    assert (folder / "x.jsonl").read_bytes() == b"".join(wanted)
    assert [path.name for path in folder.iterdir()] == ["x.jsonl"]
    (folder / "x.jsonl").unlink()
    folder.rmdir()


def test_equal_lines_have_ids_of_their_own_the_same_in_every_run() -> None:
    one, other = Ids("a"), Ids("a")
    made = [one.make(b"x") for _ in range(40_000)]
    assert len(set(made)) == 40_000
    assert made == [other.make(b"x") for _ in range(40_000)]
    assert Ids("b").make(b"x") != made[0]


def test_rotation_does_not_change_what_a_log_is_called_and_a_folder_does() -> None:
    told = salts(["/a/access.log", "/a/access.log.2.gz", "/a/access.log-20260101", "/b/access.log"], "n")
    assert len({told[name] for name in list(told)[:3]}) == 1
    assert told["/b/access.log"] != told["/a/access.log"]


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("", False),
    ],
)
def test_a_traceparent_is_whole_and_valid_or_none(text: str, is_valid: bool) -> None:
    found = traceparent(text)
    assert found == (("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7") if is_valid else None)


def test_short_ids_are_padded_and_other_ids_stay() -> None:
    assert padded("463AC35C9F6413AD", 32) == "0000000000000000463ac35c9f6413ad"
    assert padded("job-7_1.x", 16) == "job-7_1.x"
    assert padded("0000", 16) is None
    assert padded("has blank", 16) == padded("has blank", 16) != "has blank"


# --- follow mode


def test_a_live_log_is_followed_through_rotation_and_truncation(checkout: Checkout, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(log_line(0))
    command = [sys.executable, "-I", str(checkout.root / "tools" / "adapters" / "nginx.py"), "-f", str(log)]
    process = subprocess.Popen(command, env=clean_environment(RUN_ID="live", NODE_ID="n1", TAG="f"))
    try:

        def has(count: int) -> None:
            def there() -> bool:
                return len(paths_of(checkout, "live", "nginx-f")) >= count

            wait_for(there, f"{count} records")

        has(1)
        old = log.open("ab")
        old.write(log_line(1) + log_line(2)[:30])
        old.flush()
        has(2)
        log.rename(tmp_path / "access.log.1")
        log.write_bytes(log_line(3))
        has(3)
        old.write(log_line(2)[30:])  # its writer does not know yet
        old.close()
        has(4)
        with log.open("r+b") as stream:
            stream.truncate()
        wait_for(lambda: log.stat().st_size == 0, "truncated")
        with log.open("ab") as stream:
            stream.write(log_line(4)[:-1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert sorted(paths_of(checkout, "live", "nginx-f")) == [f"/{index}" for index in range(5)]


def test_a_full_disk_leaves_no_part_of_a_line() -> None:
    file = Appender(Path("/dev/full"))
    with pytest.raises(OSError):
        file.add([b"x\n"])
    file.close()
