"""Files cut into slices of time: every byte in one of them, and the same lines as if all had been sorted."""

import json
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs import Row, line
from tracekit.errors import BadLineError
from tracekit.files.reading import Account
from tracekit.files.sorting import OutOfOrderError
from tracekit.parse import pieces, slices
from tracekit.parse.entries import Entries
from tracekit.parse.passing import Passing
from tracekit.parse.slices import LAST, sliced

T0 = 1_700_000_000_000


@pytest.fixture(autouse=True, scope="module")
def little() -> Iterator[None]:
    """Slices of 2 KiB, and one CPU."""
    patch = pytest.MonkeyPatch()
    patch.setattr(slices, "SLICE", 1 << 11)
    patch.setattr(slices, "_STEP", 1 << 8)
    patch.setattr(slices, "GRAIN", 1 << 6)
    patch.setattr(slices, "_LOOK", (32, 128))
    patch.setattr(pieces, "_LOOK", 32)
    patch.setattr(pieces, "_LOOK_MOST", 256)
    patch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    yield
    patch.undo()


def written(folder: Path, texts: list[list[bytes]], end: bytes = b"\n") -> list[Path]:
    """A file of each list of lines."""
    paths = [folder / f"events.{number}.jsonl" for number in range(len(texts))]
    for path, lines in zip(paths, texts, strict=True):
        path.write_bytes(b"\n".join(lines) + (end if lines else b""))
    return paths


texts = st.lists(
    st.binary(max_size=200).filter(lambda one: b"\n" not in one)
    | st.integers(0, 50).map(lambda key: b'{"k":%d,"more":"%b"}' % (key, b"x" * key))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), st.integers(1, 40), st.sampled_from([b"", b"\n"]))
def test_slices_have_every_byte_once_and_are_cut_between_lines(
    tmp_path_factory: pytest.TempPathFactory, some: list[list[bytes]], times: int, end: bytes
) -> None:
    folder = tmp_path_factory.mktemp("slices")
    paths = written(folder, [lines * times for lines in some], end)
    found = sliced(paths, "k")
    for order, path in enumerate(paths):
        data = path.read_bytes()
        assert b"".join(data[slice(*one.ranges[order])] for one in found) == data
        assert all(
            begin == 0 or data[begin - 1 : begin] == b"\n"
            for begin, last in (one.ranges[order] for one in found)
            if begin < last
        )
    if found[-1].end == LAST:
        assert [one.first for one in found] == [0, *(one.end for one in found[:-1])]
        assert all(one.first < one.end for one in found)


def rows_of(dice: random.Random, count: int, late: int) -> list[Row]:
    """Rows in the order of time, some up to `late` places late; with ties, and some that come twice."""
    rows: list[Row] = []
    ties = dice.choice([1, 2, 3])
    for number in range(count):
        key = T0 + number // ties * 5
        ids = {"trace_id": "t", "span_id": f"s{dice.choice([number, number // 4])}"}
        rows.append({"ts_enqueue": key, "node": dice.choice("ab"), "stage": None, **ids, "n": number})
    places = [place + dice.choice([0, 0, 0, dice.uniform(0, late)]) for place in range(count)]
    return [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]


def wanted_of(files: list[list[Row]]) -> list[Row]:
    """The rows of all files in the order of the format, the first of each (time, trace, span)."""
    numbered = [
        (row["ts_enqueue"], row["node"], order, at, row)
        for order, rows in enumerate(files)
        for at, row in enumerate(rows)
    ]
    found: dict[tuple[int, str], Row] = {}
    for *_, row in sorted(numbered, key=lambda one: one[:4]):
        found.setdefault((row["ts_enqueue"], row["span_id"]), row)
    return list(found.values())


@settings(max_examples=150, deadline=None)
@given(st.integers(0), st.integers(1, 3), st.sampled_from([0, 3, 400]), st.booleans())
def test_slices_give_what_sorting_all_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, late: int, is_bad: bool
) -> None:
    dice, folder = random.Random(seed), tmp_path_factory.mktemp("slices")
    files = [rows_of(dice, dice.randrange(300), late) for _ in range(count)]
    lines = [[line(row)[:-1] for row in rows] for rows in files]
    numbers = [
        sorted(dice.sample(range(len(one) + 1), min(2, len(one)) * is_bad), reverse=True) for one in lines
    ]
    for one, at in zip(lines, numbers, strict=True):
        for number in at:
            one.insert(number, b"{bad")
    paths = written(folder, lines)
    bad: list[tuple[str, int]] = []
    accounts = {path.name: Account() for path in paths}
    passing = Passing(Entries("invocations.jsonl", "n", ""), paths, accounts, count)

    def reject(one: BadLineError, _line: bytes) -> None:
        bad.append((one.file, one.line))

    try:
        ready = list(passing.read(reject))
    except OutOfOrderError:
        assert late > 3
        ready = list(passing.read_again(folder))
    wanted = wanted_of(files)
    assert [json.loads(text) for one in ready for text in one.text.splitlines()] == wanted
    assert sorted(bad) == [
        (path.name, n)
        for path, one in zip(paths, lines, strict=True)
        for n, text in enumerate(one, 1)
        if text == b"{bad"
    ]
    assert [account.lines for account in accounts.values()] == list(map(len, lines))
    assert (
        sum(account.accepted for account in accounts.values())
        == len(wanted)
        == sum(one.records for one in ready)
    )
    assert all(one.keys == [wanted_key(one.text, 0), wanted_key(one.text, -1)] for one in ready)


def wanted_key(text: bytes, at: int) -> int:
    key: int = json.loads(text.splitlines()[at])["ts_enqueue"]
    return key


# --- around the edges


def event(key: int | None, span: str, **more: object) -> bytes:
    """A line, with its newline."""
    ids = {"trace_id": "t", "span_id": span}
    return line({"ts_enqueue": key, "node": "n", "stage": None, **ids, **more})


def passed(folder: Path, paths: list[Path]) -> tuple[list[Row], dict[str, Account], list[str]]:
    """The rows of the files, their accounts, and the reasons of bad lines."""
    accounts, reasons = {path.name: Account() for path in paths}, list[str]()
    passing = Passing(Entries("invocations.jsonl", "n", ""), paths, accounts, len(paths))
    try:
        ready = list(passing.read(lambda bad, _line: reasons.append(bad.reason)))
    except OutOfOrderError:
        ready = list(passing.read_again(folder))
    return [json.loads(text) for one in ready for text in one.text.splitlines()], accounts, reasons


def test_what_is_written_while_the_file_is_cut_is_the_next_parse_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows, other, late = tmp_path / "events.a.jsonl", tmp_path / "events.b.jsonl", event(T0 + 60, "a60")
    grows.write_bytes(b"".join(event(T0 + number, f"a{number}") for number in range(60)) + late[:30])
    other.write_bytes(b"".join(event(T0 + number, f"b{number}") for number in range(300)))
    parts, cut = [late[30:60], late[60:]], slices._Keys.cut

    def cut_and_grow(self: slices._Keys, bound: int) -> int:
        if bound > T0 + 100 and parts:
            with grows.open("ab") as stream:
                stream.write(parts.pop(0))
        return cut(self, bound)

    monkeypatch.setattr(slices._Keys, "cut", cut_and_grow)
    rows, accounts, reasons = passed(tmp_path, [grows, other])
    assert not parts
    assert reasons == ["torn"]  # as if it had been read before the writer went on
    assert accounts["events.a.jsonl"].lines == 61
    assert len(rows) == 360


def test_a_number_of_5000_digits_is_a_bad_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_LOOK", (32, 8192))
    bad = b'{"ts_enqueue":' + b"9" * 5000 + b"}\n"
    path = tmp_path / "events.a.jsonl"
    path.write_bytes(b"".join(event(T0 + number, f"s{number}") + bad for number in range(300)))
    rows, accounts, reasons = passed(tmp_path, [path])
    assert (len(rows), accounts[path.name].lines, len(reasons)) == (300, 600, 300)


def test_doubled_lines_without_a_key_are_told_whatever_else_looks_like_a_key(tmp_path: Path) -> None:
    path = tmp_path / "events.a.jsonl"
    nulls = [event(None, "x", ts_end=T0 + end) for end in (10, 20)]
    bogus = [b'{"ts_enqueue":%d,"node":"n"}\n' % ((1 << 63) + T0 + 15)] * 60
    path.write_bytes(b"".join([event(T0 + number, f"s{number}") for number in range(300)] + nulls + bogus))
    rows, accounts, reasons = passed(tmp_path, [path])
    assert [row["ts_end"] for row in rows if row["ts_enqueue"] is None] == [T0 + 10]
    assert (accounts[path.name].duplicates, len(reasons)) == (1, 60)


def test_more_files_than_may_be_open_are_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"events.{number:03}.jsonl" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(b"".join(event(T0 + 300 * at + number, f"{number}.{at}") for at in range(3)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, hard))
    try:
        rows, _, reasons = passed(tmp_path, paths)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [row["ts_enqueue"] - T0 for row in rows] == list(range(900))
    assert reasons == []
