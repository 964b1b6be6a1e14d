"""Reading ahead in other processes: the same bytes as without them, their errors, and their ends."""

import errno
import json
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs import lines
from tracekit.errors import TracekitError
from tracekit.files.ahead import ahead
from tracekit.files.writing import LinesFile
from tracekit.parse import slices
from tracekit.parse.build import build


def has_child() -> bool:
    """Whether a child is there that was not waited for, ended or not."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def open_files() -> list[str]:
    """What the descriptors of this process stand for."""
    return [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]


def test_the_items_come_whole_and_in_order_from_another_process() -> None:
    items = [[(number, b"x" * 300_000, None, "é")] for number in range(20)]
    assert list(ahead(items)) == items
    (pid,) = ahead(os.getpid() for _ in range(1))
    assert pid != os.getpid()


def test_what_is_sent_for_a_none_arrives_in_the_other_process() -> None:
    def items() -> Generator[Any, int, None]:
        total = 0
        while total < 6:
            total += yield None
            yield (total, os.getpid())

    found = ahead(items())
    sums = []
    for number in (1, 2, 3):
        assert next(found) is None
        total, pid = found.send(number)
        sums.append(total)
        assert pid != os.getpid()
    assert sums == [1, 3, 6]
    assert list(found) == []
    assert not has_child()


def test_an_error_arrives_as_it_was_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        (Path("/nonexistent") / "file").open()

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(FileNotFoundError) as caught:
        next(found)
    assert caught.value.filename == "/nonexistent/file"
    assert not has_child()


def test_a_killed_process_is_no_end_of_the_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TracekitError, match="ended early"):
        list(ahead(items()))


def test_the_process_ends_when_nobody_reads_on() -> None:
    found = ahead([b"x" * 1_000_000] for _ in range(1_000_000))
    next(found)
    found.close()
    assert not has_child()


def test_without_a_process_to_have_the_items_are_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", no_fork)
    assert list(ahead(os.getpid() for _ in range(1))) == [os.getpid()]


def test_it_holds_no_file_of_the_other_process(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w"):
        (names,) = ahead(open_files() for _ in range(1))
    assert not [name for name in names if name.startswith(str(tmp_path))]


# --- parse with them and without


def make_run(folder: Path, is_late: bool) -> Path:
    """Two workers' files, some bad lines in each, and one line of both; is_late: one far out of order."""
    folder.mkdir()
    (folder / "run_meta.json").write_text(json.dumps({"run_id": folder.name}))
    for worker in (1, 2):
        rows: list[Any] = [
            {
                "ts_enqueue": 10 * number + worker,
                "node": "n",
                "trace_id": "t",
                "span_id": f"{worker}.{number}",
            }
            for number in range(60_000)
        ]
        rows[300] = {"ts_enqueue": 3000, "node": "n", "trace_id": "t", "span_id": "both"}
        rows += [{"ts_enqueue": 5, "node": "n", "span_id": "late"}] * is_late
        texts = lines(rows).splitlines(keepends=True)
        for at in range(worker * 100, len(texts), 7919):
            texts[at] = b"{bad\n"
        (folder / f"events.{worker}.jsonl").write_bytes(b"".join(texts) + b'{"torn')
    return folder


def made(run_dir: Path) -> dict[str, bytes]:
    """The files of the cctf, and the view of the events."""
    files = [*(run_dir / "cctf").iterdir(), run_dir / "events.jsonl"]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("is_late", [False, True])
def test_parse_makes_the_same_bytes_with_processes_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    run_dir = make_run(tmp_path / "r1", is_late)
    told: list[tuple[int, int]] = []
    forks: list[int] = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(0) or fork())  # type: ignore[func-returns-value]
    monkeypatch.setattr(slices, "SLICE", 1 << 20)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    alone, files_alone = build(run_dir), made(run_dir)
    assert not forks
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    helped, files_helped = build(run_dir, progress=lambda *one: told.append(one)), made(run_dir)
    assert len(forks) == 2
    assert files_helped == files_alone
    assert [str(one) for one in helped.first_bad] == [str(one) for one in alone.first_bad]
    assert (helped.records, helped.rejected, helped.torn) == (alone.records, 18, 2)
    assert told[-1][0] == told[-1][1] == sum(path.stat().st_size for path in run_dir.glob("events.?.jsonl"))
    assert not has_child()


def test_strict_ends_at_the_same_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = make_run(tmp_path / "r1", False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(slices, "SLICE", 1 << 20)
    with pytest.raises(TracekitError, match=r"events\.1\.jsonl:101: "):
        build(run_dir, is_strict=True)
    assert not (run_dir / "cctf").exists()


def test_no_process_is_left_where_what_was_read_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    run_dir = make_run(tmp_path / "r1", False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(slices, "SLICE", 1 << 20)
    monkeypatch.setattr(LinesFile, "write_text", full)
    try:
        build(run_dir)
    except OSError as error:
        told = error  # and with it all frames
    assert told.errno == errno.ENOSPC
    assert not has_child()
