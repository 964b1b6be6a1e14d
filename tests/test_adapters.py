"""Every program in tools/adapters/: found by its place, with help, a row, a page, and fixtures that hold."""

import gzip
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO

import pytest
from conftest import ROOT, Checkout, clean_environment

from tracekit.records import Invocation

PROGRAMS = sorted((ROOT / "tools" / "adapters").glob("*.py"))
FIXTURES = sorted((ROOT / "tests" / "fixtures" / "adapters").glob("*.in"))
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "adapters.md").read_text()
NO_LOG = {"run_task"}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_has_help_a_header_a_row_and_a_section(program: Path) -> None:
    assert os.access(program, os.X_OK)
    done = subprocess.run(
        [program, "--help"], capture_output=True, text=True, check=False, env=clean_environment(), cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert "exit codes" in done.stdout
    header = program.read_text().split('"""')[0]
    for field in ("# Summary: ", "# Usage: ", "# Source: "):
        assert field in header
    assert f"| `{program.stem}` |" in README
    assert re.search(rf"^## .*`?{program.stem}", PAGE, re.MULTILINE | re.IGNORECASE)


def test_every_adapter_of_logs_has_a_fixture() -> None:
    assert {path.name.split("--")[0] for path in FIXTURES} == {path.stem for path in PROGRAMS} - NO_LOG


def test_the_adapter_that_the_documents_show_works(checkout: Checkout, tmp_path: Path) -> None:
    recipe = (ROOT / "docs" / "developing.md").read_text().split("## Add an adapter")[1]
    program = checkout.root / "tools" / "adapters" / "mine.py"
    program.write_text(textwrap.dedent(recipe.split("```python\n")[1].split("```")[0]))
    (tmp_path / "my.log").write_text("1767225601.250 45 /path\nnothing\n")
    try:
        done = checkout.make("adapt", "SOURCE=mine", "RUN_ID=mine", f"IN={tmp_path}/my.log")
    finally:
        program.unlink()
    assert "my.log:2: 1 words, wanted 3 [fields]" in done.stderr
    row = json.loads((checkout.logs("mine") / "invocations.mine.jsonl").read_bytes())
    assert (row["ts_start"], row["ts_end"], row["path"]) == (1767225601205, 1767225601250, "/path")


def test_adapt_without_a_source_lists_them(checkout: Checkout) -> None:
    done = checkout.make("adapt")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [path.stem for path in PROGRAMS]


def adapt(
    checkout: Checkout,
    path: Path,
    run_id: str,
    log: Path | str = "",
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    **more: str,
) -> "subprocess.CompletedProcess[bytes]":
    """Run the fixture's adapter over it, or log; <fixture>.env holds its settings, if any."""
    program = checkout.root / "tools" / "adapters" / f"{path.name.split('--')[0]}.py"
    given = path.with_suffix(".env")
    settings = dict(line.split("=", 1) for line in given.read_text().splitlines()) if given.exists() else {}
    options = json.loads(settings.pop("OPTIONS", "[]"))
    env = {"RUN_ID": run_id, "NODE_ID": "n1", "STAGE": "edge", **settings, **more}
    command = [sys.executable, "-I", str(program), *options, str(log or path)]
    return subprocess.run(
        command, env=clean_environment(**env), stdin=stdin, capture_output=True, check=False
    )


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_fixture_gives_what_is_beside_it_and_the_same_bytes_again(checkout: Checkout, path: Path) -> None:
    """Beside it: the records, then the rejects as {"line", "reason"}."""
    run_id = path.stem.replace("--", "-").replace(".", "-")[:60]
    done = adapt(checkout, path, run_id)
    source, folder = path.name.split("--")[0], checkout.logs(run_id)
    data = (folder / f"invocations.{source}.jsonl").read_bytes()
    rejected = [
        json.loads(line) for line in (folder / "rejected" / f"{source}.jsonl").read_bytes().splitlines()
    ]
    placed = folder / f"placement_events.{source}.jsonl"
    got = [json.loads(line) for line in data.splitlines()]
    got += [json.loads(line) for line in placed.read_bytes().splitlines()] if placed.exists() else []
    got += [{"line": row["line"], "reason": row["reason"]} for row in rejected]
    wanted = [json.loads(line) for line in path.with_suffix(".jsonl").read_bytes().splitlines()]
    assert got == wanted
    assert done.returncode == (3 if any(row["reason"] != "torn" for row in rejected) else 0), done.stderr
    assert adapt(checkout, path, run_id, TZ="Pacific/Chatham").returncode == done.returncode
    assert (folder / f"invocations.{source}.jsonl").read_bytes() == data


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_packed_with_a_bom_and_crlf_or_from_stdin_it_is_the_same(
    checkout: Checkout, path: Path, tmp_path: Path
) -> None:
    run_id = path.stem.replace("--", "-").replace(".", "-")[:60]
    result = checkout.logs(run_id) / f"invocations.{path.name.split('--')[0]}.jsonl"
    code = adapt(checkout, path, run_id).returncode
    plain, text = result.read_bytes(), path.read_bytes()
    lines = (b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")).splitlines(keepends=True)
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(b"".join(map(gzip.compress, lines)))
    assert adapt(checkout, path, run_id, packed).returncode == code
    assert result.read_bytes() == plain
    with path.open("rb") as stream:
        assert adapt(checkout, path, run_id, "-", stream).returncode == code
    made = re.compile(rb'"(?:trace|span)_id":"[^"]*",')  # they hold the name of the log
    assert sorted(made.sub(b"", result.read_bytes()).splitlines()) == sorted(
        made.sub(b"", plain).splitlines()
    )


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_what_stands_beside_a_fixture_keeps_the_laws_of_the_trace(path: Path) -> None:
    rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_bytes().splitlines()]
    records = [row for row in rows if "trace_id" in row]
    names = list(Invocation.__struct_fields__)
    assert len({(row["trace_id"], row["span_id"]) for row in records}) == len(records)
    for row in records:
        assert next(iter(row)) == "ts_enqueue"
        assert set(row) <= set(names)
        assert re.fullmatch("[0-9a-f]{32}", row["trace_id"]) and re.fullmatch("[0-9a-f]{16}", row["span_id"])
        if row["rt_ms"] is not None:
            assert min(row["queue_time_ms"], row["service_time_ms"], row["rt_ms"]) >= 0
            assert abs(row["queue_time_ms"] + row["service_time_ms"] - row["rt_ms"]) <= 0.01
            assert abs(row["ts_end"] - row["ts_start"] - row["service_time_ms"]) <= 1
            assert abs(row["ts_start"] - row["ts_enqueue"] - row["queue_time_ms"]) <= 1
