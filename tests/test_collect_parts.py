"""The small parts of collecting: rows, the appender, the catalog, the lock, the clocks."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from tracekit.collect import catalog, clock, status
from tracekit.collect.appender import Appender, append_once
from tracekit.collect.clock import Stamp
from tracekit.collect.rows import LinkRows, plain_row
from tracekit.collect.start import _refuse_full_disk
from tracekit.errors import TracekitError
from tracekit.runs import Run, make_state, state_home
from tracekit.settings import resolve
from tracekit.sources.ifstat import NicSample
from tracekit.sources.mpstat import CpuSample


class Nic:
    """A made /sys/class/net with one NIC."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "eth0" / "statistics"
        self._folder.mkdir(parents=True)
        self.resets: list[str] = []
        self.rows = LinkRows("n1.nic", "eth0", self.resets.append, str(root))

    def row(
        self, stamp: Stamp, sample: NicSample, rx: int, tx: int, ifindex: int = 2
    ) -> dict[str, object] | None:
        (self._folder.parent / "ifindex").write_text(f"{ifindex}\n")
        (self._folder / "rx_bytes").write_text(f"{rx}\n")
        (self._folder / "tx_bytes").write_text(f"{tx}\n")
        line = self.rows(sample, stamp)
        return json.loads(line) if line else None


def test_a_row_has_the_time_first_and_the_monotonic_clock_last() -> None:
    line = plain_row(CpuSample(12.5), Stamp(1_700_000_000_123, 456))
    assert line == b'{"ts_ms":1700000000123,"cpu_util":12.5,"mono_ms":456}\n'


def test_ifstat_is_believed_while_the_clock_is_steady(tmp_path: Path) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(1000, 1000), NicSample(10, 20), 0, 0)
    row = nic.row(Stamp(2000, 2000), NicSample(30, 40), 5000, 6000)
    assert row == {
        "ts_ms": 2000,
        "link": "n1.nic",
        "rx_Bps": 30,
        "tx_Bps": 40,
        "mono_ms": 2000,
        "rx_bytes_total": 5000,
        "tx_bytes_total": 6000,
    }


@pytest.mark.parametrize("wall_ms", [3_602_000, 2_000 - 3_600_000 + 10**10])
def test_counters_decide_when_the_wall_clock_was_stepped(tmp_path: Path, wall_ms: int) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(10**10 if wall_ms > 10**9 else 1000, 1000), NicSample(10, 20), 0, 0)
    row = nic.row(
        Stamp(wall_ms, 3000), NicSample(1, 1), 5000, 6000
    )  # two seconds later by the monotonic clock
    assert row is not None
    assert (row["rx_Bps"], row["tx_Bps"]) == (2500, 3000)


def test_counters_decide_where_ifstat_knows_nothing(tmp_path: Path) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(1000, 1000), NicSample(10, 20), 100, 100)
    row = nic.row(Stamp(2000, 2000), NicSample(None, None), 350, 100)
    assert row is not None
    assert (row["rx_Bps"], row["tx_Bps"]) == (250, 0)


def test_a_counter_that_went_back_gives_no_rate_rather_than_a_spike(tmp_path: Path) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(1000, 1000), NicSample(10, 20), 9999, 9999)
    assert nic.row(Stamp(2000, 2000), NicSample(0, 0), 5, 5) is None
    assert nic.resets == ["n1.nic: the byte counters went back"]


def test_another_nic_of_the_same_name_gives_no_rate_although_its_counters_are_larger(tmp_path: Path) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(1000, 1000), NicSample(10, 20), 100, 100)
    assert nic.row(Stamp(2000, 2000), NicSample(7000, 7000), 9999, 9999, ifindex=5) is None
    assert nic.resets == ["n1.nic: another NIC has the name (ifindex 5, before 2)"]
    row = nic.row(Stamp(3000, 3000), NicSample(30, 40), 10_029, 10_039, ifindex=5)
    assert row is not None
    assert (row["rx_Bps"], row["tx_Bps"]) == (30, 40)


def test_after_a_time_without_the_nic_the_rate_covers_all_of_it(tmp_path: Path) -> None:
    nic = Nic(tmp_path)
    nic.row(Stamp(1000, 1000), NicSample(10, 20), 0, 0)
    # four seconds later ifstat divides what came in them by its one second
    row = nic.row(Stamp(5000, 5000), NicSample(8000, 4000), 8000, 4000)
    assert row is not None
    assert (row["rx_Bps"], row["tx_Bps"]) == (2000, 1000)


def test_appender_starts_a_new_line_after_a_killed_writers_half_line(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":')
    appender = Appender(path)
    appender.append(b'{"c":3}\n', 1)
    assert path.read_bytes() == b'{"a":1}\n{"b":\n{"c":3}\n'


def test_raw_files_are_not_for_every_user(tmp_path: Path) -> None:
    Appender(tmp_path / "raw.jsonl").append(b"1\n", 1)
    assert (tmp_path / "raw.jsonl").stat().st_mode & 0o137 == 0


def test_appender_refuses_a_planted_symlink(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "raw.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic") as caught:
        Appender(tmp_path / "raw.jsonl")
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "victim").read_text() == "precious"


def test_appender_tells_a_failure_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = Appender(tmp_path / "raw.jsonl")
    real_write = os.write
    full = True

    def write(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    assert appender.append(b"1\n2\n", 2) is None
    assert appender.last_error == "ENOSPC"
    full = False
    failure = appender.append(b"3\n", 1)
    assert failure is not None
    assert (failure.reason, failure.lines) == ("ENOSPC", 2)
    assert (tmp_path / "raw.jsonl").read_bytes() == b"3\n"


def test_what_is_kept_is_written_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = Appender(tmp_path / "marks.jsonl", keep_bytes=8)
    real_write = os.write
    full = True

    def write(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    appender.append(b"one\n", 1)
    appender.append(b"two\n", 1)
    appender.append(b"six\n", 1)  # no room for it
    assert appender.last_error == "ENOSPC"
    full = False
    failure = appender.retry()
    assert failure is not None
    assert failure.lines == 1
    assert (tmp_path / "marks.jsonl").read_bytes() == b"one\ntwo\n"
    assert appender.last_error is None


def test_a_line_that_was_written_in_part_is_cut_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = Appender(tmp_path / "raw.jsonl")
    appender.append(b"whole\n", 1)
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:3]))
    appender.append(b"torn line\n", 1)
    assert (tmp_path / "raw.jsonl").read_bytes() == b"whole\n"
    assert appender.last_error == "ENOSPC"


def test_an_apps_line_behind_a_part_of_ours_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "marks.jsonl"
    appender = Appender(path)
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        written = real_write(descriptor, data[:3])
        with path.open("ab") as app:
            app.write(b"app\n")
        return written

    monkeypatch.setattr(os, "write", write)
    appender.append(b"torn line\n", 1)
    assert path.read_bytes() == b"torapp\n"
    assert appender.last_error == "ENOSPC"


def test_a_single_line_goes_behind_a_half_one_and_never_through_a_link(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_bytes(b'{"half":')
    append_once(path, b"whole\n")
    assert path.read_bytes() == b'{"half":\nwhole\n'
    (tmp_path / "planted.jsonl").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        append_once(tmp_path / "planted.jsonl", b"whole\n")


@pytest.mark.parametrize("collector", catalog.collectors(), ids=lambda one: one.name)
def test_every_collector_describes_itself(collector: catalog.Collector) -> None:
    assert os.access(collector.path, os.X_OK)
    shown = subprocess.run([collector.path, "--help"], capture_output=True, text=True, check=True, timeout=10)
    assert len(shown.stdout.splitlines()) >= 3
    assert f"`{collector.name}`" in (ROOT / "README.md").read_text()
    assert collector.series
    assert all(name.endswith(".jsonl") for name in collector.writes)


HEADER = """#!/bin/sh
# Summary: one.
# Series: one
# Writes: one.jsonl
"""


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("# Needs: cat", "'cat' is not written as '# Needs: program (package name), ...'"),
        ("# Needs: cat (package coreutils), ls", "is not written as '# Needs: "),
        ("# Adds: two.jsonl", "'two.jsonl' is not written as '# Adds: file (with VARIABLE), ...'"),
    ],
)
def test_a_header_line_in_another_form_is_refused_with_the_form(
    tmp_path: Path, line: str, wanted: str
) -> None:
    path = tmp_path / "one.sh"
    path.write_text(f"{HEADER}{line}\n")
    with pytest.raises(TracekitError) as caught:
        catalog.describe(path)
    assert "one.sh: " in str(caught.value)
    assert wanted in str(caught.value)


def test_a_header_lists_each_program_with_its_package(tmp_path: Path) -> None:
    path = tmp_path / "one.sh"
    path.write_text(f"{HEADER}# Needs: cat (package coreutils), ps (package procps)\n")
    assert catalog.describe(path).needs == (("cat", "coreutils"), ("ps", "procps"))


def test_status_counts_the_rows_of_a_series_in_a_shared_file_over_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_BLOCK", 7)
    path = tmp_path / "resources.jsonl"
    path.write_bytes(
        b'{"ts_ms":1,"cpu_util":5}\n{"ts_ms":2,"mem_free_mb":9}\n{"ts_ms":3,"cpu_util":6}\n{"ts_ms":4,'
    )
    assert status.rows_of(path, "cpu") == (2, 3)
    assert status.rows_of(path, "mem") == (1, 2)
    assert status.rows_of(path, "load") == (3, 3)  # of a file of its own: every line
    assert status.rows_of(tmp_path / "none.jsonl", "cpu") == (0, None)


@pytest.mark.parametrize(("environ", "is_there"), [({}, False), ({"CONTAINER": "svc"}, True)])
def test_the_container_has_a_file_only_where_one_is_asked_for(
    environ: dict[str, str], is_there: bool, tmp_path: Path
) -> None:
    written = {file for one in catalog.chosen(resolve(environ, tmp_path / "none")) for file in one.writes}
    assert ("cgroup_metrics.jsonl" in written) is is_there
    assert "proc_metrics.jsonl" in written


@pytest.mark.parametrize("collector", catalog.collectors(), ids=lambda one: one.name)
def test_every_collector_refuses_an_unknown_argument(collector: catalog.Collector) -> None:
    command = [collector.path, "--no-such"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 2
    assert done.stdout == ""


HOLD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tracekit.runs import Run; from pathlib import Path\n"
)
HOLD += "Run('r1', Path(sys.argv[2])).hold(); print('held', flush=True); sys.stdin.read()"


def test_a_run_is_live_exactly_while_a_process_holds_its_lock(tmp_path: Path) -> None:
    run = Run("r1", tmp_path)
    make_state(run)
    assert run.holder() is None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert run.holder() == holder.pid
    with pytest.raises(TracekitError, match="already has a recorder"):
        run.hold()
    holder.kill()
    holder.wait()
    assert run.holder() is None
    (run.state / "lock").unlink()
    run.state.rmdir()
    run.state.parent.rmdir()


def test_control_state_does_not_move_with_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_home(tmp_path)
    for name in ("HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "/elsewhere")
    assert state_home(tmp_path) == before
    assert state_home(tmp_path / "other") != before


def test_control_state_that_others_may_write_is_refused(tmp_path: Path) -> None:
    run = Run("r1", tmp_path)
    make_state(run).chmod(0o777)
    with pytest.raises(TracekitError, match="not a private folder"):
        make_state(run)
    run.state.rmdir()
    run.state.parent.rmdir()


def test_chrony_offset_is_positive_where_the_local_clock_is_ahead() -> None:
    # chronyc(1): field 5 is the correction in s, positive where the local clock is slow.
    csv = (
        "C0000201,192.0.2.1,3,1700000000.0,-0.000250000,0.0,0.0001,-3.5,0.001,0.05,0.004,0.001,64.2,Normal\n"
    )
    quality = clock.parse_chrony(csv)
    assert quality["source"] == "chrony"
    assert quality["synchronised"] is True
    assert quality["offset_ms"] == 0.25
    assert quality["error_bound_ms"] == 3.25  # 0.25 + dispersion 1 + delay 4 / 2


def test_an_unsynchronised_chrony_knows_no_offset() -> None:
    csv = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"
    assert clock.parse_chrony(csv)["offset_ms"] is None
    assert clock.parse_chrony(csv)["synchronised"] is False


@pytest.mark.parametrize(
    ("answer", "wanted"), [("NTPSynchronized=yes", True), ("NTPSynchronized=no", False), ("", None)]
)
def test_timedatectl_knows_only_whether(answer: str, wanted: bool | None) -> None:
    quality = clock.parse_timedatectl(f"Timezone=UTC\n{answer}\n")
    assert quality["synchronised"] is wanted
    assert quality["error_bound_ms"] is None


def test_a_start_that_is_interrupted_while_it_looks_for_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _refuse_full_disk(tmp_path / "run1")
    assert list(tmp_path.iterdir()) == []
