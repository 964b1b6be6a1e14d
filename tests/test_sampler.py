"""The process sampler: on a made /proc with nasty names, and on real processes against their own account."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.collect import procfs
from tracekit.collect.clock import Stamp, now
from tracekit.collect.proc.lines import Output
from tracekit.collect.proc.sampler import Sampler
from tracekit.collect.proc.target import Target

NASTY = ["a) b", "py) R 1 (python", "x\nX", '"', "\\", "\u00e9", "", ":(){", "(((", "a b c d e f g"]
BUSY = f"busy-for-the-test-{os.getpid()}"
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def fake_process(root: Path, pid: int, comm: str, **more: int | str) -> None:
    """A process under a made /proc. more: utime, stime, starttime, resident, cmdline, cgroup."""
    folder = root / str(pid)
    folder.mkdir(exist_ok=True)
    fields = ["S", str(more.get("ppid", 1)), *["0"] * 9]
    fields += [
        str(more.get("utime", 0)),
        str(more.get("stime", 0)),
        str(more.get("cutime", 0)),
        str(more.get("cstime", 0)),
        *["0"] * 4,
        str(more.get("starttime", 500)),
    ]
    line = f"{pid} ({comm}) {' '.join(fields)} 0 0 0\n"
    (folder / "stat").write_bytes(line.encode())
    (folder / "statm").write_text(f"1000 {more.get('resident', 10)} 5 1 0 100 0\n")
    (folder / "cmdline").write_bytes(str(more.get("cmdline", "")).replace(" ", "\0").encode())
    (folder / "cgroup").write_text(str(more.get("cgroup", "0::/\n")))


class Recording:
    """A sampler whose output is kept."""

    def __init__(self, target: Target, refresh: bool = False, root: str = procfs.PROC) -> None:
        self.lines: list[bytes] = []
        self.said: list[str] = []
        self.sampler = Sampler(target, 1000, refresh, Output(self._write, self.said.append), root=root)

    def _write(self, lines: bytes) -> None:
        self.lines += lines.split(b"\n")

    def rows(self) -> list[dict[str, int]]:
        return [json.loads(line) for line in self.lines if line.startswith(b"{")]

    def told(self, file: str) -> list[dict[str, object]]:
        head = f"@{file} ".encode()
        return [json.loads(line[len(head) :]) for line in self.lines if line.startswith(head)]


def target(
    pattern: str = "", container: str = "", root: Path | None = None, known: str | None = None
) -> Target:
    where = str(root) if root else procfs.PROC
    return Target(pattern, container, lambda _pid, _ppid: False, lambda _name: known, where)


def tick(recording: Recording, second: int) -> None:
    recording.sampler.tick(Stamp(1_700_000_000_000 + second * 1000, 10_000 + second * 1000))


@pytest.mark.parametrize("comm", NASTY)
def test_any_name_leaves_the_figures_in_their_places(tmp_path: Path, comm: str) -> None:
    fake_process(tmp_path, 42, comm, utime=812, stime=94, starttime=98217, resident=25)
    recording = Recording(target(".*", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    (row,) = recording.rows()
    assert (row["pid"], row["utime"], row["stime"], row["starttime"]) == (42, 812, 94, 98217)
    assert row["rss_kb"] == 25 * PAGE_KB
    assert recording.told("proc_inventory.jsonl")[0]["comm"] == comm


def test_new_processes_are_found_when_something_was_forked_or_after_five_seconds(tmp_path: Path) -> None:
    loadavg = tmp_path / "loadavg"
    loadavg.write_text("0.00 0.01 0.05 1/100 42\n")
    fake_process(tmp_path, 42, "work")
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 41, "work")  # it was being forked when /proc was listed
    tick(recording, 1)
    fake_process(tmp_path, 43, "work")
    loadavg.write_text("0.00 0.01 0.05 1/100 43\n")
    tick(recording, 2)
    assert {row["pid"] for row in recording.rows()} == {41, 42, 43}
    tick(recording, 3)
    fake_process(tmp_path, 44, "work")  # loadavg lags behind
    tick(recording, 8)
    assert {row["pid"] for row in recording.rows()} == {41, 42, 43, 44}


def test_a_name_that_is_not_utf8_still_gives_json(tmp_path: Path) -> None:
    fake_process(tmp_path, 42, "x")
    line = (tmp_path / "42" / "stat").read_bytes()
    (tmp_path / "42" / "stat").write_bytes(line.replace(b"(x)", b"(\xff\xfe)"))
    recording = Recording(target(".*", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    assert recording.told("proc_inventory.jsonl")[0]["comm"] == "\\xff\\xfe"


def test_pattern_is_looked_for_in_name_and_command_line_without_case(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "FFmpeg")
    fake_process(tmp_path, 2, "python3", cmdline="python3 -m ffmpeg_tool")
    fake_process(tmp_path, 3, "bash")
    recording = Recording(target("ffmpeg", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    assert {row["pid"] for row in recording.rows()} == {1, 2}


def test_without_pattern_or_container_nothing_is_sampled_and_it_is_said_once() -> None:
    recording = Recording(target())
    waits = iter(["tick", "tick", "end"])
    recording.sampler.run(lambda _seconds: next(waits))
    assert recording.rows() == []
    assert recording.said == ["neither PROC_MATCH nor CONTAINER is given: only tasks of run_task are sampled"]
    (summary,) = recording.told("marks.jsonl")
    assert (summary["kind"], summary["ticks"], summary["rows"]) == ("ticks", 2, 0)


def test_without_refresh_a_later_process_is_not_taken_in(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "work")
    recording = Recording(target("work", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 2, "work", starttime=1100)
    tick(recording, 1)
    assert {row["pid"] for row in recording.rows()} == {1}


def test_with_refresh_a_later_process_is_taken_in(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "work")
    recording = Recording(target("work", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 2, "work", starttime=1100)
    tick(recording, 1)
    assert [row["pid"] for row in recording.rows()].count(2) == 1


def test_a_young_process_is_matched_again_after_exec(tmp_path: Path) -> None:
    fake_process(
        tmp_path, 1, "bash", starttime=1000
    )  # born at 10.0 s of boot time, the time of the first tick
    recording = Recording(target("ffmpeg", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 1, "ffmpeg", starttime=1000)
    tick(recording, 1)
    assert {row["pid"] for row in recording.rows()} == {1}


def test_an_old_process_that_does_not_match_is_not_looked_at_again(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "bash", starttime=100)  # born at 1 s, nine seconds before the first tick
    recording = Recording(target("ffmpeg", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    fake_process(tmp_path, 1, "ffmpeg", starttime=100)
    tick(recording, 1)
    assert recording.rows() == []


ID = "3f" * 32
CGROUPS = [
    f"12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n0::/\n",  # v1 and hybrid, cgroupfs
    f"0::/system.slice/docker-{ID}.scope\n",  # v2, systemd
    f"0::/docker/{ID}/init.scope\n",  # v2, nested
    f"1:name=systemd:/system.slice/docker-{ID}.scope\n0::/system.slice/docker-{ID}.scope\n",
]


@pytest.mark.parametrize("cgroup", CGROUPS)
def test_container_is_told_by_its_id_in_any_kind_of_cgroup(tmp_path: Path, cgroup: str) -> None:
    fake_process(tmp_path, 1, "inside", cgroup=cgroup)
    fake_process(tmp_path, 2, "outside", cgroup=f"0::/docker/{'ab' * 32}\n")
    recording = Recording(target(container="svc", root=tmp_path, known=ID), root=str(tmp_path))
    tick(recording, 0)
    assert {row["pid"] for row in recording.rows()} == {1}
    assert recording.told("proc_inventory.jsonl")[0]["container"] == ID


def test_container_that_is_not_there_is_said_once_and_never_replaced_by_host_processes(
    tmp_path: Path,
) -> None:
    fake_process(tmp_path, 1, "work")
    recording = Recording(target("work", "svc", tmp_path), root=str(tmp_path))
    for second in range(3):
        tick(recording, second)
    assert recording.rows() == []
    assert recording.said == ["container svc is not there; looking for it each second"]


def test_container_with_a_pattern_takes_only_its_matching_processes(tmp_path: Path) -> None:
    for pid, comm in ((1, "gunicorn"), (2, "sh")):
        fake_process(tmp_path, pid, comm, cgroup=f"0::/docker/{ID}\n")
    fake_process(tmp_path, 3, "gunicorn")
    recording = Recording(target("gunicorn", "svc", tmp_path, ID), root=str(tmp_path))
    tick(recording, 0)
    assert {row["pid"] for row in recording.rows()} == {1}


def test_events_just_before_a_grid_point_do_not_cost_the_tick() -> None:
    recording = Recording(target("x"))
    ticks: list[float] = []

    def wait(seconds: float) -> str:
        if len(ticks) == 3:
            return "end"
        if seconds > 0:
            time.sleep(seconds + 0.001)  # an event came, and gathering took until after the grid point
            return "events"
        ticks.append(time.time())
        return "tick"

    recording.sampler = Sampler(target("x"), 100, False, Output(recording._write, print))
    recording.sampler.run(wait)
    (summary,) = [mark for mark in recording.told("marks.jsonl") if mark["kind"] == "ticks"]
    assert summary["ticks"] == 3
    assert ticks[-1] - ticks[0] < 0.25


def test_late_tick_is_a_mark_and_not_a_silence(tmp_path: Path) -> None:
    recording = Recording(target("x", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    tick(recording, 4)
    (mark,) = recording.told("marks.jsonl")
    assert (mark["kind"], mark["reason"]) == ("missed", "late")
    assert mark["detail"] == "3000 ms late"


def test_step_of_the_wall_clock_is_a_mark_with_its_size(tmp_path: Path) -> None:
    recording = Recording(target("x", root=tmp_path), root=str(tmp_path))
    tick(recording, 0)
    recording.sampler.tick(Stamp(1_700_000_000_000 + 3_601_000, 11_000))
    marks = {str(mark["kind"]): mark for mark in recording.told("marks.jsonl")}
    assert marks["clock_step"]["step_ms"] == 3_600_000
    assert marks["ticks"]["ticks"] == 1  # the summary ends before the step


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A real process that computes until it is ended."""
    code = "import sys\nprint('on', flush=True)\nwhile True: sum(range(1000))"
    process = subprocess.Popen([sys.executable, "-c", code, BUSY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_a_real_process_is_followed_to_its_end_and_its_ticks_are_the_kernels(
    busy: subprocess.Popen[bytes],
) -> None:
    recording = Recording(target(BUSY))
    recording.sampler.tick(now())
    time.sleep(0.6)
    recording.sampler.tick(now())
    truth = procfs.read_stat(busy.pid)
    rows = [row for row in recording.rows() if row["pid"] == busy.pid]
    ticks = rows[-1]["utime"] + rows[-1]["stime"]
    assert abs(ticks - int(truth.fields[procfs.UTIME]) - int(truth.fields[procfs.STIME])) <= 2
    assert ticks - rows[0]["utime"] - rows[0]["stime"] >= 20  # of some 60
    smaps = Path(f"/proc/{busy.pid}/smaps_rollup").read_text()
    resident = int(re.findall(r"Rss: +(\d+) kB", smaps)[0])
    assert abs(rows[-1]["rss_kb"] - resident) <= 256  # it may grow between the two readings
    busy.kill()
    busy.wait()
    recording.sampler.tick(now())
    events = [(one["event"], one["pid"]) for one in recording.told("proc_inventory.jsonl")]
    assert events == [("seen", busy.pid), ("end", busy.pid)]


def test_without_free_descriptors_processes_are_still_sampled(busy: subprocess.Popen[bytes]) -> None:
    recording = Recording(target(BUSY))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))  # one: enough to scan, not to keep two
        recording.sampler.tick(now())
        recording.sampler.tick(now())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [row["pid"] for row in recording.rows()] == [busy.pid, busy.pid]
    assert recording.said == ["no more open files: further processes are opened anew at each tick"]


def test_a_process_with_the_pid_of_a_refused_one_is_looked_at(tmp_path: Path) -> None:
    fake_process(tmp_path, 1, "bash", starttime=100)
    recording = Recording(target("ffmpeg", root=tmp_path), refresh=True, root=str(tmp_path))
    tick(recording, 0)
    (tmp_path / "1").rename(tmp_path / "gone")
    fake_process(tmp_path, 1, "ffmpeg", starttime=1050)
    tick(recording, 1)
    assert [row["pid"] for row in recording.rows()] == [1]
