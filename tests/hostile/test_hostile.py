"""Around every hazard, in every kind of raw file: all good lines come out, in order, each once, and the
hazard is counted once, told and kept."""

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from tests.hostile.corpus import (
    COUNT,
    HARMLESS,
    HAZARDS,
    KINDS,
    ODD_MS,
    Kind,
    good,
    with_value,
    wrong_values,
)
from tests.runs import T0, make_run, quality_of, tool
from tracekit.parse.build import Result, build
from tracekit.validate import find_problems

BAD_LINES = (1, COUNT // 2 + 2, COUNT + 3)  # where they stand then
LIMIT = 65_536  # characters of a rejected line that are kept


def numbered(kind: Kind) -> list[bytes]:
    return [good(kind, T0 + number) for number in range(COUNT)]


def refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def strict_lines(path: Path) -> list[Any]:
    """Every line as JSON, or the test fails."""
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    return [json.loads(one.decode(), parse_constant=refuse) for one in data.split(b"\n")[:-1]]


def built(folder: Path, files: dict[str, bytes]) -> tuple[Path, Result]:
    """The run, parsed; what came out is a valid cctf."""
    run_dir = make_run(folder / "r1", dict(files))
    result = build(run_dir)
    assert list(find_problems(run_dir / "cctf")) == []
    return run_dir, result


def assert_all_good_lines_are_out(run_dir: Path, kinds: list[Kind], more: int = 0) -> None:
    for kind in kinds:
        times = [row[kind.key] for row in strict_lines(run_dir / "cctf" / kind.out)]
        assert times == [*range(T0, T0 + COUNT), *[ODD_MS] * more], kind.raw


def surrounded(kind: Kind, hazard: bytes) -> bytes:
    """The numbered good lines with the hazard first, in the middle and last."""
    half = COUNT // 2
    goods = numbered(kind)
    return b"\n".join([hazard, *goods[:half], hazard, *goods[half:], hazard]) + b"\n"


@pytest.mark.parametrize("name", HAZARDS)
def test_all_good_lines_around_a_hazard_come_out(tmp_path: Path, name: str) -> None:
    reason, make = HAZARDS[name]
    run_dir, result = built(tmp_path, {kind.raw: surrounded(kind, make(kind)) for kind in KINDS})
    assert_all_good_lines_are_out(run_dir, KINDS)
    rejected = strict_lines(run_dir / "cctf" / "rejected.jsonl")
    for kind in KINDS:
        account = quality_of(run_dir)["inputs"][kind.raw]
        assert account == {"lines": COUNT + 3, "accepted": COUNT, "rejected": {reason: 3}, "duplicates": 0}
        text = make(kind).decode("utf-8", "backslashreplace")[:LIMIT]
        assert [row for row in rejected if row["file"] == kind.raw] == [
            {"file": kind.raw, "line": line, "reason": reason, "text": text} for line in BAD_LINES
        ]
    assert (result.rejected, result.torn) == (3 * len(KINDS), 0)


def test_one_object_on_two_lines_is_two_bad_lines(tmp_path: Path) -> None:
    files = {kind.raw: surrounded(kind, good(kind, ODD_MS).replace(b",", b",\n", 1)) for kind in KINDS}
    run_dir, _ = built(tmp_path, files)
    assert_all_good_lines_are_out(run_dir, KINDS)
    for kind in KINDS:
        assert quality_of(run_dir)["inputs"][kind.raw]["rejected"] == {"json": 6}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_odd_is_taken_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    make, text = HARMLESS[name]
    files = {}
    for kind in KINDS:
        pieces = numbered(kind)
        pieces.insert(COUNT // 2, make(kind))
        files[kind.raw] = b"\n".join(pieces) + b"\n"
    run_dir, result = built(tmp_path, files)
    assert result.rejected == 0
    assert_all_good_lines_are_out(run_dir, KINDS, more=1)
    for kind in KINDS[3:]:  # the others are typed series, whose rows are written anew
        last = (run_dir / "cctf" / kind.out).read_bytes().split(b"\n")[-2]
        assert text in last.decode()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.raw)
def test_a_value_of_a_wrong_type_or_range_in_any_field_is_told_with_its_field(
    tmp_path: Path, kind: Kind
) -> None:
    pieces, bad = [], []
    goods = iter(numbered(kind))
    for field, text in wrong_values(kind):
        pieces += [with_value(kind, field, text), next(goods)]
        bad.append(field)
    assert len(bad) > 10 * len(kind.row(0)) - 10
    run_dir, result = built(tmp_path, {kind.raw: b"\n".join([*pieces, *goods]) + b"\n"})
    assert_all_good_lines_are_out(run_dir, [kind])
    assert quality_of(run_dir)["inputs"][kind.raw]["rejected"] == {"type": len(bad)}
    rejected = strict_lines(run_dir / "cctf" / "rejected.jsonl")
    assert [row["line"] for row in rejected] == list(range(1, 2 * len(bad), 2))
    assert all(f"$.{field}" in str(one) for field, one in zip(bad, result.first_bad, strict=False))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.raw)
def test_lines_in_any_order_come_out_in_order(tmp_path: Path, kind: Kind) -> None:
    lines = numbered(kind)
    shuffled = [lines[number * 7 % COUNT] for number in range(COUNT)]
    run_dir, _ = built(tmp_path, {kind.raw: b"\n".join([*shuffled, b"bad"]) + b"\n"})
    assert_all_good_lines_are_out(run_dir, [kind])


HAS_IDENTITY = ["resources.jsonl", "links.jsonl", "proc_metrics.jsonl", "events.11.jsonl", "calls.11.jsonl",
                "events_client.jsonl", "proc_inventory.jsonl", "marks.jsonl",
                "system_stats.11.jsonl"]  # fmt: skip


@pytest.mark.parametrize("kind", [one for one in KINDS if one.raw in HAS_IDENTITY], ids=lambda kind: kind.raw)
def test_doubled_lines_come_out_once_and_are_counted(tmp_path: Path, kind: Kind) -> None:
    lines = numbered(kind)
    run_dir, result = built(tmp_path, {kind.raw: b"\n".join(lines * 2) + b"\n"})
    assert_all_good_lines_are_out(run_dir, [kind])
    assert quality_of(run_dir)["inputs"][kind.raw]["duplicates"] == COUNT
    assert result.rejected == 0


def test_the_same_file_under_two_names_comes_out_once(tmp_path: Path) -> None:
    kind = next(one for one in KINDS if one.raw == "events.11.jsonl")
    data = b"\n".join(reversed(numbered(kind))) + b"\n"
    run_dir, _ = built(
        tmp_path, {"events.11.jsonl": data, "events.12.jsonl": data, "invocations.x.jsonl": data}
    )
    assert_all_good_lines_are_out(run_dir, [kind])
    inputs = quality_of(run_dir)["inputs"]
    assert sum(one["duplicates"] for one in inputs.values()) == 2 * COUNT


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.raw)
def test_a_torn_last_line_is_torn_wherever_it_is_cut(tmp_path: Path, kind: Kind) -> None:
    whole = b"\n".join(numbered(kind)) + b"\n"
    for cut in (1, 9, len(good(kind, ODD_MS)) - 1):
        run_dir, result = built(tmp_path, {kind.raw: whole + good(kind, ODD_MS)[:cut]})
        assert_all_good_lines_are_out(run_dir, [kind])
        assert quality_of(run_dir)["inputs"][kind.raw]["rejected"] == {"torn": 1}
        assert result.torn == 1


LONG = 64_000_000


@pytest.mark.parametrize("raw", ["proc_metrics.jsonl", "events.11.jsonl"])
@pytest.mark.parametrize("is_json", [True, False])
def test_a_line_of_64_mb_is_told_and_cut_where_it_is_kept(tmp_path: Path, raw: str, is_json: bool) -> None:
    kind = next(one for one in KINDS if one.raw == raw)
    text = b"x" * LONG
    odd = good(kind, ODD_MS)[:-1] + b',"x":"' + text + b'"}' if is_json else text
    pieces = numbered(kind)
    pieces.insert(COUNT // 2, odd)
    run_dir, _ = built(tmp_path, {raw: b"\n".join(pieces) + b"\n"})
    assert_all_good_lines_are_out(run_dir, [kind])
    assert quality_of(run_dir)["inputs"][raw]["rejected"] == {"long": 1}
    (rejected,) = strict_lines(run_dir / "cctf" / "rejected.jsonl")
    assert (rejected["line"], rejected["text"]) == (COUNT // 2 + 1, odd[:LIMIT].decode())


def test_every_hazard_at_once_leaves_every_good_line(tmp_path: Path) -> None:
    files, wanted = {}, Counter(reason for reason, _ in HAZARDS.values())
    for kind in KINDS:
        pieces = numbered(kind)
        for number, (_, make) in enumerate(HAZARDS.values()):
            pieces.insert(number * 17, make(kind))
        files[kind.raw] = b"\n".join(pieces) + b"\n"
    run_dir, _ = built(tmp_path, files)
    assert_all_good_lines_are_out(run_dir, KINDS)
    for kind in KINDS:
        assert quality_of(run_dir)["inputs"][kind.raw]["rejected"] == wanted


def test_the_page_of_the_corpus_lists_every_hazard() -> None:
    page = (ROOT / "tests" / "hostile" / "README.md").read_text()
    for name, (reason, _) in HAZARDS.items():
        assert f"| {name} | `{reason}` |" in page
    for name in HARMLESS:
        assert f"| {name} |" in page


# --- the command


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run directory of this checkout."""
    folder = ROOT / "logs" / f"test-{uuid.uuid4().hex}"
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "name", ["NUL hole before a line", "stray byte", "deep nesting", "two objects", "a member twice"]
)
def test_the_command_ends_with_3_and_names_file_and_line(run_dir: Path, name: str) -> None:
    reason, make = HAZARDS[name]
    make_run(run_dir, {kind.raw: surrounded(kind, make(kind)) for kind in KINDS})
    done = tool("parse_sys.py", run_dir.name)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert re.search(rf"^parse_sys: \S+\.jsonl:{BAD_LINES[0]}: .* \[{reason}\]$", done.stderr, re.MULTILINE)
    assert f"{3 * len(KINDS)} lines rejected" in done.stderr.splitlines()[-1]
    assert tool("validate.py", str(run_dir / "cctf")).returncode == 0
    assert_all_good_lines_are_out(run_dir, KINDS)


def test_the_command_ends_with_0_where_last_lines_are_torn(run_dir: Path) -> None:
    torn = {kind.raw: b"\n".join([*numbered(kind), good(kind, ODD_MS)[:-7]]) for kind in KINDS}
    make_run(run_dir, torn)
    done = tool("parse_sys.py", run_dir.name)
    assert done.returncode == 0
    assert f"{len(KINDS)} torn last lines" in done.stderr
    assert_all_good_lines_are_out(run_dir, KINDS)


def test_events_jsonl_of_no_worker_is_as_hard(run_dir: Path) -> None:
    kind = next(one for one in KINDS if one.raw == "events.11.jsonl")
    data = surrounded(kind, b"\0bad\xff")
    make_run(run_dir, {"events.jsonl": data})
    assert tool("parse_sys.py", run_dir.name).returncode == 3
    assert_all_good_lines_are_out(run_dir, [kind])
    assert (run_dir / "events.jsonl").read_bytes() == data
