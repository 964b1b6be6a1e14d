"""A large file in pieces, and processes by whole ticks: the same bytes as row by row and in one piece."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs import Row, lines, make_run, proc
from tracekit.errors import TracekitError
from tracekit.parse import pieces, rows
from tracekit.parse.build import build
from tracekit.parse.pieces import made_in_turn
from tracekit.parse.processes import ProcSeries

SECONDS = 120


@pytest.fixture(autouse=True, scope="module")
def little() -> Iterator[None]:
    """A line's end is looked for in few bytes at a time."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pieces, "_LOOK", 4)
    patch.setattr(pieces, "_LOOK_MOST", 16)
    yield
    patch.undo()


def whole_pieces(path: Path, size: int) -> list[pieces.Piece]:
    """All of a file at once."""
    return [(0, size)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40), st.integers(0, 20))
def test_pieces_have_every_byte_once_and_are_cut_between_lines(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, step: int, more: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "lines"
    path.write_bytes(data + b"\n" * more)  # it has grown since its size was asked for
    found = pieces.pieces(path, len(data), step)
    assert b"".join(data[slice(*one)] for one in found) == data
    assert all(data[begin - 1 : begin] == b"\n" for begin, _ in found[1:])
    assert all(begin < end for begin, end in found)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda one: one.replace(b"\n", b"")), max_size=8), st.data())
def test_a_line_begins_behind_the_first_newline_that_is_not_too_early(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], more: st.DataObject
) -> None:
    data = b"\n".join(texts)
    at = more.draw(st.integers(0, len(data) + 1))
    path = tmp_path_factory.mktemp("line") / "lines"
    path.write_bytes(data)
    begins = [0, *(number for number in range(1, len(data) + 1) if data[number - 1 : number] == b"\n")]
    with path.open("rb") as stream:
        found = pieces.line_from(stream.fileno(), at)
    assert found == min((begin for begin in begins if begin >= at), default=len(data))


@pytest.mark.parametrize("cpus", [1, 2, 8])
def test_items_are_made_in_order_by_as_many_processes_as_there_are_cpus(
    monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    made = list(made_in_turn(lambda number: (number, os.getpid()), range(100)))
    assert [number for number, _ in made] == list(range(100))
    processes = {pid for _, pid in made}
    assert len(processes) == {1: 1, 2: 2, 8: 4}[cpus]
    assert (os.getpid() in processes) == (cpus == 1)


def test_few_items_are_not_worth_a_process() -> None:
    assert set(made_in_turn(lambda _: os.getpid(), range(16))) == {os.getpid()}


# --- the same cctf, however it is read


def end_of(pid: int, born_ms: int, at_ms: int, ticks: int) -> Row:
    """The end of a process as proc_inventory.jsonl has it."""
    row = proc(at_ms, ticks, pid=pid, born_ms=born_ms)
    del row["rss_kb"]
    return {**row, "node": "vm1", "event": "end", "ppid": 1, "comm": "x"}


def some_run(folder: Path, dice: random.Random, is_late: bool) -> Path:
    """Processes that come, go, are not seen for a while and hand on their pids; doubled and broken lines.

    is_late: one row is far out of order."""
    found: list[Row] = []
    ends: list[Row] = []
    living = {pid: [0, -5000] for pid in range(10, 18)}  # ticks of CPU, born
    for second in range(1, SECONDS):
        for pid, process in living.items():
            process[0] += dice.randrange(100) if dice.random() < 0.9 else -dice.randrange(3)
            if dice.random() < 0.99:
                found.append(proc(second * 1000, max(process[0], 0), pid=pid, born_ms=process[1]))
        if dice.random() < 0.2:
            pid = dice.choice(list(living))
            ticks, born_ms = living.pop(pid)
            ends.append(end_of(pid, born_ms, second * 1000 + 300, max(ticks, 0) + 2))
            living[dice.choice([pid, 100 + second])] = [0, second * 1000 + 500]
        if dice.random() < 0.05:
            found += dice.sample(found[-8:], 3)
    if is_late:
        found.append(found.pop(40))
    texts = lines(found).splitlines(keepends=True)
    for at in range(30, len(texts), 211):
        texts.insert(at, b'{"ts_ms": 1.5}\n')
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": b"".join(texts) + b'{"ts_ms":17',
        "proc_inventory.jsonl": ends,
    }
    return make_run(folder, files, stopped_ms=SECONDS * 1000)


def made(run_dir: Path) -> dict[str, bytes]:
    """What parse makes of it."""
    build(run_dir)
    return {path.name: path.read_bytes() for path in (run_dir / "cctf").iterdir()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_late", [False, True])
def test_parse_makes_the_same_bytes_of_pieces_of_any_size_and_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, is_late: bool
) -> None:
    run_dir = some_run(tmp_path / "r1", random.Random(seed), is_late)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "pieces", whole_pieces)
        patch.setattr(ProcSeries, "_used_by_all", lambda *_: False)
        plain = made(run_dir)
    assert plain["proc_cpu.jsonl"].count(b'"exit"') > 3
    assert len(plain["rejected.jsonl"].splitlines()) == 1 + len(range(30, 900, 211))
    for step in (100, 3000, 20_000):
        monkeypatch.setattr(rows, "pieces", lambda path, size, step=step: pieces.pieces(path, size, step))
        assert made(run_dir) == plain, step


def test_strict_ends_at_the_first_bad_line_of_pieces_read_by_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = some_run(tmp_path / "r1", random.Random(1), False)
    monkeypatch.setattr(rows, "pieces", lambda path, size: pieces.pieces(path, size, 1000))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with pytest.raises(TracekitError, match=r"proc_metrics\.jsonl:31: "):
        build(run_dir, is_strict=True)
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
