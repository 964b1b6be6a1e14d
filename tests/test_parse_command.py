"""tools/parse_sys.py: STRICT=1, what it says of bad lines, and how far it is."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from conftest import Checkout

from tests.runs import T0, cpu, lines, make_run, snapshot
from tracekit import cli
from tracekit.parse.build import build

BAD = lines([cpu(0), cpu(1000)]) + b"bad\n" + lines([cpu(2000)]) + b"{}\n"


def a_run(checkout: Checkout, data: bytes) -> Path:
    folder = checkout.logs("strict")
    shutil.rmtree(folder, ignore_errors=True)
    return make_run(folder, {"resources.jsonl": data})


@pytest.mark.parametrize("has_older", [True, False])
def test_strict_stops_at_the_first_bad_line_and_leaves_an_older_cctf(
    checkout: Checkout, has_older: bool
) -> None:
    folder = a_run(checkout, BAD)
    if has_older:
        assert checkout.run("python3", "-I", "tools/parse_sys.py", "strict").returncode == 3
    before = snapshot(folder)
    done = checkout.run("python3", "-I", "tools/parse_sys.py", "strict", STRICT="1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "resources.jsonl:3: " in done.stderr
    assert "STRICT=1" in done.stderr  # what to do
    assert snapshot(folder) == before


def test_strict_takes_a_torn_last_line(checkout: Checkout) -> None:
    a_run(checkout, lines([cpu(0)]) + b'{"ts_ms":17')
    done = checkout.make("parse", "RUN_ID=strict", "STRICT=1")
    assert done.returncode == 0, done.stderr


def test_the_first_bad_lines_are_named_and_all_are_counted(checkout: Checkout) -> None:
    a_run(checkout, b"bad\n" * 40 + lines([cpu(0)]))
    done = checkout.run("python3", "-I", "tools/parse_sys.py", "strict")
    assert done.returncode == 3
    said = done.stderr.splitlines()
    assert [f"resources.jsonl:{number}: " in one for number, one in enumerate(said[:-1], 1)] == [True] * 5
    assert "exit 3" in said[-1]
    assert "40 lines" in said[-1]
    assert "%" not in done.stderr  # no terminal, no progress


def test_the_last_line_names_the_code_of_a_wrong_argument_too(checkout: Checkout) -> None:
    done = checkout.run("python3", "-I", "tools/parse_sys.py", "--no-such")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("--no-such (exit 2)")


class Terminal(io.StringIO):
    """What is drawn on it."""

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, seconds: list[float]) -> str:
    """What Progress draws at these seconds after its start, with as many of 8 parts done."""
    monkeypatch.setattr(sys, "stderr", stderr)
    clock = [100.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: clock[0])
    with cli.Progress() as progress:
        for part, second in enumerate(seconds, 1):
            clock[0] = 100.0 + second
            progress(part, 8)
    return stderr.getvalue().replace(cli.prog(), "parse_sys")


def test_progress_is_one_line_that_is_erased_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, Terminal(), [0.2, 0.9, 1.5, 1.52, 2.0])
    seen = [part.strip() for part in text.split("\r") if part.strip()]
    assert seen == ["parse_sys: 37 %", "parse_sys: 62 %"]  # 3 and 5 of 8; the fourth came too soon
    assert text.endswith("\r")
    assert text.split("\r")[-2].strip() == ""
    assert "\n" not in text


def test_short_work_and_a_file_as_stderr_show_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, Terminal(), [0.1, 0.5]) == ""
    assert drawn(monkeypatch, io.StringIO(), [1.5, 3.0]) == ""


def test_progress_comes_to_the_whole_size(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    run_dir = make_run(tmp_path / "r1", {"resources.jsonl": BAD, "events.1.jsonl": [{"ts_enqueue": T0}]})
    size = sum(path.stat().st_size for path in run_dir.glob("*.jsonl"))
    build(run_dir, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
