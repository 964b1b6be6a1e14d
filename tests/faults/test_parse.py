"""Parse killed at any moment, without room, beside a live run, on torn files and on edited documents."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Checkout, clean_environment
from live import lines_of, start
from workload import children, fill


def made_run(checkout: Checkout, run_id: str, ticks: int, processes: int) -> Path:
    """The documents of the golden run under another name, and that many rows of processes."""
    folder, golden = checkout.logs(run_id), checkout.root / "tests" / "golden" / "one-node" / "raw"
    folder.mkdir(parents=True)
    for path in golden.glob("*.json"):
        shutil.copy(path, folder)
    for name in ("run_meta.json", "node_meta.json"):
        document = json.loads((folder / name).read_text()) | {"run_id": run_id}
        (folder / name).write_text(json.dumps(document))
    add_rows(folder, range(ticks), processes)
    return folder


def add_rows(folder: Path, ticks: range, processes: int) -> None:
    row = '{"ts_ms":%d,"pid":%d,"rss_kb":1000,"utime":%d,"stime":1,"starttime":%d}\n'
    with (folder / "proc_metrics.jsonl").open("a") as stream:
        for tick in ticks:
            ts_ms = 1_700_000_000_000 + 1000 * tick
            stream.write("".join(row % (ts_ms, 1000 + one, 5 * tick, one) for one in range(processes)))


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below, by its name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_valid(checkout: Checkout, run_id: str) -> None:
    done = checkout.make("validate", f"RUN_ID={run_id}")
    assert done.returncode == 0, done.stderr


def stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    """Which files these are, so that those which were not touched are known without a look inside."""
    found = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    return [(path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def killed_after(checkout: Checkout, run_id: str, after_s: float) -> bool:
    """Kill a parse so long after its start; whether it was in the middle of building."""
    parse = subprocess.Popen(
        ["make", "--no-print-directory", "-C", str(checkout.root), "parse", f"RUN_ID={run_id}"],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after_s)
    was_building = any(checkout.logs(run_id).glob(".cctf.*.tmp"))
    with suppress(ProcessLookupError):
        os.killpg(parse.pid, signal.SIGKILL)  # make and the parse it called: a session of our own
    parse.wait()
    return was_building


def seconds_of_parse(checkout: Checkout, run_id: str) -> float:
    began = time.monotonic()
    assert checkout.make("parse", f"RUN_ID={run_id}").returncode == 0
    return time.monotonic() - began


def test_a_parse_killed_at_ten_moments_leaves_no_cctf_or_a_whole_one_and_the_next_succeeds(
    checkout: Checkout,
) -> None:
    folder = made_run(checkout, "killed-parse", ticks=2400, processes=500)
    cctf = folder / "cctf"
    moments = random.Random()
    fractions = [(part + moments.random()) / 5 for part in range(5)]  # one in each fifth
    building = 0
    lasts_s = seconds_of_parse(checkout, "killed-parse")
    shutil.rmtree(cctf)
    for fraction in fractions:  # there is none before
        building += killed_after(checkout, "killed-parse", fraction * lasts_s)
        if cctf.exists():  # this machine is fast
            assert_valid(checkout, "killed-parse")
            shutil.rmtree(cctf)
    lasts_s = seconds_of_parse(checkout, "killed-parse")
    add_rows(folder, range(2400, 2401), 500)
    known = stamps(cctf)
    for fraction in fractions:  # there is an older one
        building += killed_after(checkout, "killed-parse", fraction * lasts_s)
        if stamps(cctf) != known:  # it had been put in place before the end
            assert_valid(checkout, "killed-parse")
            known = stamps(cctf)
    assert building >= 5, fractions
    raw = (folder / "proc_metrics.jsonl").stat()
    assert checkout.make("parse", "RUN_ID=killed-parse").returncode == 0
    assert_valid(checkout, "killed-parse")
    files = json.loads((cctf / "manifest.json").read_text())["files"]
    assert [file["records"] for file in files if file["name"] == "proc_metrics.jsonl"] == [2401 * 500]
    assert not list(folder.glob(".cctf.*"))  # what the killed ones left is gone
    assert (folder / "proc_metrics.jsonl").stat().st_mtime_ns == raw.st_mtime_ns
    shutil.rmtree(folder)


def test_a_parse_that_finds_no_room_leaves_the_older_cctf(small: Checkout) -> None:
    folder = made_run(small, "no-room", ticks=20, processes=50)
    assert small.make("parse", "RUN_ID=no-room").returncode == 0
    add_rows(folder, range(20, 22), 50)
    before = tree(folder)
    filled = fill(small)
    done = small.make("parse", "RUN_ID=no-room")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "exit 1" in done.stderr
    assert tree(folder) == before
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["cctf"]
    assert_valid(small, "no-room")
    filled.unlink()
    assert small.make("parse", "RUN_ID=no-room").returncode == 0
    assert_valid(small, "no-room")
    assert len(lines_of(folder / "cctf" / "proc_metrics.jsonl")) == 22 * 50


@pytest.fixture(scope="module")
def recorded(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of some seconds with rows in each raw file; it was parsed while it was live."""
    folder = checkout.logs("recorded")
    with children(tmp_path_factory.mktemp("recorded"), "tk-recorded", [b"tk-recorded"] * 3, is_busy=False):
        start(checkout, "recorded", PROC_MATCH="^tk-recorded$")
        time.sleep(2.1)
        before = {path: path.read_bytes() for path in folder.glob("*.json*")}
        done = checkout.make("parse", "RUN_ID=recorded")
        assert done.returncode == 0, done.stderr
        for path, content in before.items():
            now = path.read_bytes()
            assert now.startswith(content) if path.suffix == ".jsonl" else now == content, path.name
        assert_valid(checkout, "recorded")
        accepted = len(lines_of(folder / "cctf" / "host_metrics.jsonl"))
        assert accepted >= len(before[folder / "resources.jsonl"].splitlines()) > 2
        time.sleep(1)
        assert checkout.make("stop-collect", "RUN_ID=recorded").returncode == 0
    assert before.keys() == set(folder.glob("*.json*"))
    return folder


def test_a_parse_beside_a_live_run_changes_no_raw_byte_and_the_last_one_has_all_rows(
    checkout: Checkout, recorded: Path
) -> None:
    early = len(lines_of(recorded / "cctf" / "proc_metrics.jsonl"))
    assert checkout.make("parse", "RUN_ID=recorded").returncode == 0
    assert_valid(checkout, "recorded")
    late = len(lines_of(recorded / "cctf" / "proc_metrics.jsonl"))
    assert 0 < early < late == len(lines_of(recorded / "proc_metrics.jsonl"))


def copy_as(checkout: Checkout, recorded: Path, run_id: str) -> Path:
    """The raw files of the recorded run as another run of another checkout would have them."""
    folder = checkout.logs(run_id)
    shutil.copytree(recorded, folder, ignore=shutil.ignore_patterns("cctf"))
    for name in ("run_meta.json", "node_meta.json"):
        document = json.loads((folder / name).read_text()) | {"run_id": run_id}
        (folder / name).write_text(json.dumps(document))
    return folder


def test_files_torn_in_their_last_line_give_one_torn_line_each_and_all_whole_ones(
    checkout: Checkout, recorded: Path
) -> None:
    folder = copy_as(checkout, recorded, "torn")
    torn = sorted(path for path in folder.glob("*.jsonl"))
    names = {"resources.jsonl", "links.jsonl", "marks.jsonl", "proc_metrics.jsonl", "proc_inventory.jsonl"}
    assert {path.name for path in torn} == names
    for path in torn:
        subprocess.run(["truncate", "-s", "-7", path], check=True)
    whole = {path.name: path.read_bytes().count(b"\n") for path in torn}
    done = checkout.run("python3", "-I", "tools/parse_sys.py", "torn")
    assert done.returncode == 0, done.stderr
    assert "5 torn last lines" in done.stderr
    inputs = json.loads((folder / "cctf" / "quality.json").read_text())["inputs"]
    assert inputs.keys() == names
    for name, account in inputs.items():
        assert account["rejected"] == {"torn": 1}
        assert account["accepted"] == whole[name]
        assert account["lines"] == account["accepted"] + account["duplicates"] + 1
    rejected = lines_of(folder / "cctf" / "rejected.jsonl")
    assert {row["file"] for row in rejected} == names
    for row in rejected:
        assert (folder / row["file"]).read_text().endswith("\n" + row["text"])
    assert_valid(checkout, "torn")


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace('"run_id": "', '"run_id": "not-'))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["node_meta.json", "run_meta.json"])
@pytest.mark.parametrize("harm", [edit, empty, Path.unlink])
def test_a_document_that_is_edited_emptied_or_gone_is_refused_and_nothing_is_written(
    checkout: Checkout, recorded: Path, name: str, harm: Callable[[Path], None]
) -> None:
    folder = copy_as(checkout, recorded, f"harm-{harm.__name__}-{name[:-5]}")
    before = tree(folder)
    harm(folder / name)
    harmed = tree(folder)
    assert harmed != before
    done = checkout.run("python3", "-I", "tools/parse_sys.py", folder.name)
    assert done.returncode == 1
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1  # a sentence, not a traceback
    assert tree(folder) == harmed
    assert not (folder / "cctf").exists()


def to_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def to_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/passwd")


def to_endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["links.jsonl", "events.7.jsonl", "node_meta.json"])
@pytest.mark.parametrize("harm", [to_pipe, to_folder, to_link, to_endless])
def test_what_is_no_file_is_neither_followed_nor_waited_for(
    checkout: Checkout, recorded: Path, name: str, harm: Callable[[Path], None]
) -> None:
    folder = copy_as(checkout, recorded, f"odd-{harm.__name__}-{name.split('.', maxsplit=1)[0]}")
    harm(folder / name)
    done = checkout.run("timeout", "20", "python3", "-I", "tools/parse_sys.py", folder.name)
    assert done.returncode == 1
    assert done.stderr == (
        f"parse_sys: {folder / name}: no regular file; look at it and remove it (exit 1)\n"
    )
    assert not (folder / "cctf").exists()


def test_what_is_planted_at_the_places_of_a_cctf_is_replaced_and_not_followed(
    checkout: Checkout, recorded: Path, tmp_path: Path
) -> None:
    folder = copy_as(checkout, recorded, "planted")
    (tmp_path / "victim").write_text("mine")
    (folder / "cctf").symlink_to(tmp_path)
    (folder / ".cctf.1.tmp").symlink_to(tmp_path)
    (folder / ".cctf.2.tmp").write_text("no folder")
    for _ in range(2):
        assert checkout.run("python3", "-I", "tools/parse_sys.py", "planted").returncode == 0
        assert not (folder / "cctf").is_symlink()
        assert not list(folder.glob(".cctf.*"))
    assert_valid(checkout, "planted")
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (tmp_path / "victim").read_text() == "mine"
