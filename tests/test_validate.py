"""validate finds every kind of damage and names it; the commands end with the right exit codes."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runs import T0, Row, cpu, line, make_run, node_meta, parsed, proc, tool
from tracekit import ROOT
from tracekit.validate import find_problems

FILES: dict[str, list[Row] | bytes] = {
    "resources.jsonl": [cpu(0), cpu(1000), cpu(2000)],
    "proc_metrics.jsonl": [proc(2000, 1), proc(3000, 2)],
    "invocations.x.jsonl": [{"ts_enqueue": T0, "ts_end": T0 + 1}, {"ts_enqueue": None, "ts_end": T0}],
}


@pytest.fixture
def cctf(tmp_path: Path) -> Path:
    """A valid cctf."""
    return parsed(tmp_path, FILES) / "cctf"


def rewrite(cctf: Path, name: str, data: bytes, **entry: object) -> None:
    """Replace a file and make the manifest agree with it, but for entry."""
    (cctf / name).write_bytes(data)
    manifest = json.loads((cctf / "manifest.json").read_bytes())
    true = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for file in manifest["files"]:
        if file["name"] == name:
            file.update({**true, **entry})
    (cctf / "manifest.json").write_text(json.dumps(manifest))


def edit_byte(cctf: Path) -> None:
    path = cctf / "host_metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"12.5", b"12.6", 1))


def cut_a_file(cctf: Path) -> None:
    path = cctf / "proc_rss.jsonl"
    path.write_bytes(path.read_bytes()[:-1])


def unsort(cctf: Path) -> None:
    lines = (cctf / "host_metrics.jsonl").read_bytes().splitlines(keepends=True)
    rewrite(cctf, "host_metrics.jsonl", lines[1] + lines[0] + lines[2])


def put_null_first(cctf: Path) -> None:
    lines = (cctf / "invocations.jsonl").read_bytes().splitlines(keepends=True)
    rewrite(cctf, "invocations.jsonl", lines[1] + lines[0])


def spoil_a_type(cctf: Path) -> None:
    data = (cctf / "proc_cpu.jsonl").read_bytes()
    second = data.splitlines(keepends=True)[1]
    rewrite(cctf, "proc_cpu.jsonl", data.replace(second, second.replace(b'"cpu_ms":10', b'"cpu_ms":"10"')))


def spoil_a_name(cctf: Path) -> None:
    data = (cctf / "host_metrics.jsonl").read_bytes()
    rewrite(cctf, "host_metrics.jsonl", data.replace(b'"vm1"', b'"vm1\\n"', 1))


def unbalance(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(cctf: Path) -> None:
        text = (cctf / name).read_text()
        assert old in text
        rewrite(cctf, name, text.replace(old, new, 1).encode())

    return damage


def in_manifest(name: str, **entry: object) -> Callable[[Path], None]:
    return lambda cctf: rewrite(cctf, name, (cctf / name).read_bytes(), **entry)


def rename_in_manifest(cctf: Path) -> None:
    text = (cctf / "manifest.json").read_text()
    (cctf / "manifest.json").write_text(text.replace("host_metrics.jsonl", "../r1/resources.jsonl"))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited byte": (edit_byte, "host_metrics.jsonl: "),
    "cut file": (cut_a_file, "proc_rss.jsonl: "),
    "removed file": (lambda cctf: (cctf / "proc_rss.jsonl").unlink(), "proc_rss.jsonl: is missing"),
    "extra file": (lambda cctf: (cctf / "calls.jsonl").write_bytes(b""), "calls.jsonl: "),
    "unsorted lines": (unsort, "host_metrics.jsonl:2: "),
    "null before a number": (put_null_first, "invocations.jsonl:2: "),
    "wrong type": (spoil_a_type, "proc_cpu.jsonl:2: "),
    "newline in a name": (spoil_a_name, "host_metrics.jsonl:1: "),
    "empty line": (lambda c: rewrite(c, "rejected.jsonl", b"\n", records=1), "rejected.jsonl:1: "),
    "wrong count": (in_manifest("host_metrics.jsonl", records=4), "host_metrics.jsonl: "),
    "wrong count of an array": (in_manifest("nodes.json", records=2), "nodes.json: "),
    "wrong size": (in_manifest("host_metrics.jsonl", bytes=1), "host_metrics.jsonl: "),
    "wrong first time": (in_manifest("host_metrics.jsonl", first_ts=1), "host_metrics.jsonl: "),
    "wrong last time": (in_manifest("host_metrics.jsonl", last_ts=None), "host_metrics.jsonl: "),
    "line law": (unbalance("quality.json", '"accepted": 3', '"accepted": 2'), "quality.json: "),
    "tick law": (unbalance("quality.json", '"missing": 2', '"missing": 1'), "quality.json: "),
    "said unbalanced": (unbalance("quality.json", '"balanced": true', '"balanced": false'), "quality.json: "),
    "no quality": (lambda cctf: (cctf / "quality.json").unlink(), "quality.json: is missing"),
    "wrong document": (unbalance("nodes.json", '"node_id": "vm1"', '"node_id": 1'), "nodes.json: "),
    "way out in the manifest": (rename_in_manifest, "manifest.json: "),
    "other version": (
        unbalance("manifest.json", '"cctf_version": "1.0"', '"cctf_version": "2.0"'),
        "manifest.json: ",
    ),
}


def test_what_parse_made_is_valid(cctf: Path) -> None:
    assert list(find_problems(cctf)) == []
    done = tool("validate.py", str(cctf))
    assert (done.returncode, done.stderr) == (0, "")
    # 3 rows of the host, 2 in each of 3 process files (born in the run, so proc_cpu too), 2 invocations
    assert done.stdout.strip().endswith("11 records")


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(cctf: Path, name: str) -> None:
    damage, wanted = DAMAGES[name]
    damage(cctf)
    problems = list(find_problems(cctf))
    assert [problem for problem in problems if problem.startswith(wanted)], problems


def test_the_command_names_damage_and_fails(cctf: Path) -> None:
    spoil_a_type(cctf)
    done = tool("validate.py", str(cctf))
    assert done.returncode == 1
    assert "proc_cpu.jsonl:2: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("manifest", [None, b"", b"[]", b'{"cctf_version":', b"\xff"])
def test_a_folder_without_a_readable_manifest_fails_in_one_line(
    tmp_path: Path, manifest: bytes | None
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    done = tool("validate.py", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("arguments", [("a", "b"), ("--no-such-option",)])
@pytest.mark.parametrize("command", ["validate.py", "parse_sys.py"])
def test_wrong_usage_is_exit_2(command: str, arguments: tuple[str, ...]) -> None:
    assert tool(command, *arguments).returncode == 2


# --- the exit codes of parse


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A fresh run directory of this checkout."""
    folder = ROOT / "logs" / f"test-{uuid.uuid4().hex}"
    yield make_run(folder, FILES)
    shutil.rmtree(folder)


def test_parse_is_0_where_all_is_taken_or_torn(run_dir: Path) -> None:
    with (run_dir / "resources.jsonl").open("ab") as stream:
        stream.write(line(cpu(3000))[:20])
    done = tool("parse_sys.py", run_dir.name)
    assert done.returncode == 0
    assert "1 torn" in done.stderr
    assert tool("validate.py", str(run_dir / "cctf")).returncode == 0


def test_parse_is_3_where_lines_were_rejected_and_its_last_line_says_so(run_dir: Path) -> None:
    with (run_dir / "resources.jsonl").open("ab") as stream:
        stream.write(b"bad\n" + line(cpu(3000)))
    done = tool("parse_sys.py", run_dir.name)
    assert done.returncode == 3
    assert "exit 3" in done.stderr.splitlines()[-1]
    assert "resources.jsonl:4: " in done.stderr
    assert tool("validate.py", str(run_dir / "cctf")).returncode == 0


def test_parse_is_1_where_it_cannot_be_made_and_its_last_line_says_so(run_dir: Path) -> None:
    (run_dir / "node_meta.json").write_bytes(line(node_meta("another")))
    done = tool("parse_sys.py", run_dir.name)
    assert done.returncode == 1
    assert "another" in done.stderr
    assert not (run_dir / "cctf").exists()
    assert "exit 1" in done.stderr.splitlines()[-1]


def test_parse_of_no_run_is_1_and_makes_nothing() -> None:
    name = f"test-{uuid.uuid4().hex}"
    assert tool("parse_sys.py", name).returncode == 1
    assert not (ROOT / "logs" / name).exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-rf", "a b", "a\n", "x" * 65])
def test_parse_of_a_hostile_name_is_2(name: str) -> None:
    done = tool("parse_sys.py", "--", name)
    assert done.returncode == 2
    assert done.stdout == ""
