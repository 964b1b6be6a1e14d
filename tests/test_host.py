"""The host sampler on a made /proc and /sys. The expected figures are worked out from the texts here."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs import MONO0, T0, Row, kinds, nic, parsed, quality_of, rows_of
from tracekit.collect import clock, hostfiles
from tracekit.collect.clock import Stamp
from tracekit.collect.host import HostSampler
from tracekit.collect.hostfiles import HostFiles
from tracekit.summary import summarise

# user nice system idle iowait irq softirq steal guest guest_nice
STAT = """cpu  {all}
cpu0 {cpu0}
cpu1 {cpu1}
intr 12345 0 9
ctxt 98765
btime 1700000000
"""
# major minor name: reads merged sectors ms writes merged sectors ms in-flight busy-ms weighted-ms
DISKS = """   7       0 loop0 50 0 400 5 0 0 0 0 0 5 5
   1       0 ram0 5 0 40 1 0 0 0 0 0 1 1
 259       0 nvme0n1 {disk}
 259       1 nvme0n1p1 900 0 9000 90 900 0 9000 90 0 90 180
 253       0 dm-0 900 0 9000 90 900 0 9000 90 0 90 180
"""
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 500 5 0 0 0 0 0 0 500 5 0 0 0 0 0
  eth0: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0
"""
MEMINFO = "MemTotal:       2000000 kB\nMemFree:         100000 kB\nMemAvailable:    1000000 kB\n"


class Host:
    """A made root with two cores, one disk and eth1; write() what changes, then tick()."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("loop0", "ram0", "nvme0n1", "dm-0"):
            (root / "sys/block" / name).mkdir(parents=True)
        (root / "sys/block/nvme0n1/device").mkdir()
        self.write("sys/devices/system/cpu/present", "0-1\n")
        self.write("proc/meminfo", MEMINFO)
        self.cpu("1000 0 0 9000 0 0 0 0 0 0", "500 0 0 4500 0 0 0 0 0 0", "500 0 0 4500 0 0 0 0 0 0")
        self.disk("100 0 1000 10 200 0 2000 20 0 500 30")
        self.nics(eth1=(2, 1000, 2000))
        for name in ("cpu", "memory", "io"):
            self.stalled(name, 1_000_000, 500_000)
        self.out: list[bytes] = []
        self._sampler: HostSampler | None = None
        self._second = 0

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def cpu(self, total: str, cpu0: str, cpu1: str = "") -> None:
        text = STAT.format(all=total, cpu0=cpu0, cpu1=cpu1)
        self.write("proc/stat", text if cpu1 else text.replace("cpu1 \n", ""))

    def disk(self, counters: str) -> None:
        self.write("proc/diskstats", DISKS.format(disk=counters))

    def nics(self, **nics: tuple[int, int, int]) -> None:
        """Name -> (ifindex, bytes received, bytes sent), beside lo and eth0."""
        text = NET
        for name, (ifindex, received, sent) in nics.items():
            text += f"{name:>6}:{received} 7 0 0 0 0 0 0 {sent} 7 0 0 0 0 0\n"
            self.write(f"sys/class/net/{name}/ifindex", f"{ifindex}\n")
        self.write("proc/net/dev", text)

    def stalled(self, name: str, some_us: int, full_us: int) -> None:
        averages = "avg10=0.00 avg60=0.00 avg300=0.00"
        self.write(
            f"proc/pressure/{name}", f"some {averages} total={some_us}\nfull {averages} total={full_us}\n"
        )

    def tick(self, after_ms: int = 1000) -> dict[str, list[Row]]:
        """What the next tick prints, by file."""
        if self._sampler is None:
            self._sampler = HostSampler("vm1", HostFiles("eth0", str(self.root)), self.out.append)
            self._sampler.tick(self._stamp(0))
        self.out.clear()
        self._sampler.tick(self._stamp(after_ms))
        found: dict[str, list[Row]] = {"links.jsonl": [], "marks.jsonl": [], "host_extra.jsonl": []}
        for line in b"".join(self.out).splitlines():
            assert line.startswith((b'{"ts_ms":', b"@"))
            file, text = (b"@host_extra.jsonl", line) if line[:1] == b"{" else line.split(b" ", 1)
            found[file[1:].decode()].append(json.loads(text))
        return found

    def row(self, after_ms: int = 1000) -> dict[str, Any]:
        """The one line of host_extra.jsonl of the next tick."""
        (row,) = self.tick(after_ms)["host_extra.jsonl"]
        return row

    def _stamp(self, after_ms: int) -> Stamp:
        self._second += after_ms
        return Stamp(T0 + self._second, MONO0 + self._second)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.tick()  # the files are open from here on
    return made


def test_the_first_reading_gives_no_row(tmp_path: Path) -> None:
    out: list[bytes] = []
    sampler = HostSampler("vm1", HostFiles("eth0", str(Host(tmp_path).root)), out.append)
    sampler.tick(Stamp(T0, MONO0))
    assert out == []


@pytest.mark.parametrize(("to_grid_s", "wanted_s"), [(0.7, 0.7), (0.049, 1.049)])
def test_a_tick_just_before_the_second_is_that_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_grid_s: float, wanted_s: float
) -> None:
    monkeypatch.setattr(clock, "seconds_to_grid", lambda _: to_grid_s)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return True

    HostSampler("vm1", HostFiles("eth0", str(Host(tmp_path).root)), lambda _: None).run(wait)
    assert abs(waits[0] - wanted_s) < 0.02


def test_steal_and_iowait_are_shares_of_all_time_and_each_core_has_its_utilisation(host: Host) -> None:
    # cpu0: 100 ticks, 60 idle, 20 iowait: 20 %; cpu1: 100 ticks, 10 steal, 50 user, 40 idle: 60 %
    host.cpu(
        "1055 5 10 9100 20 0 0 10 7 0", "505 5 10 4560 20 0 0 0 0 0", "550 0 0 4540 0 0 0 10 7 0"
    )  # guest is in user: it is not counted twice
    row = host.row()
    assert row["core_util_pct"] == [20.0, 60.0]
    assert (row["iowait_pct"], row["steal_pct"]) == (10.0, 5.0)


def test_a_row_has_its_time_first_and_says_what_it_covers(host: Host) -> None:
    row = host.row(1500)
    assert next(iter(row)) == "ts_ms"
    assert (row["ts_ms"], row["mono_ms"], row["dt_ms"]) == (T0 + 2500, MONO0 + 2500, 1500)


def test_available_memory_is_in_mb_of_a_million_bytes(host: Host) -> None:
    assert host.row()["mem_available_mb"] == 1024  # 1,000,000 kB of 1024 bytes


def test_a_disk_has_rates_over_the_monotonic_clock_and_partitions_are_left_out(host: Host) -> None:
    # in 2 s: 40 reads, 1000 sectors of 512 bytes; 10 writes, 4000 sectors; busy 500 ms
    host.disk("140 0 2000 10 210 0 6000 20 0 1000 30")
    assert host.row(2000)["disks"] == [
        {
            "dev": "nvme0n1",
            "read_Bps": 256_000,
            "write_Bps": 1_024_000,
            "reads_per_s": 20.0,
            "writes_per_s": 5.0,
            "busy_pct": 25.0,
        }
    ]


def test_a_disk_that_is_new_has_nulls_once(host: Host) -> None:
    (host.root / "sys/block/sdb/device").mkdir(parents=True)
    text = (host.root / "proc/diskstats").read_text() + "   8 16 sdb 70 0 70 7 70 0 70 7 0 7 14\n"
    host.write("proc/diskstats", text)
    first, second = host.row()["disks"][1], host.row()["disks"][1]
    assert set(first) == set(second)
    assert [value for name, value in first.items() if name != "dev"] == [None] * 5
    assert (second["dev"], second["read_Bps"]) == ("sdb", 0)


def test_pressure_is_stalled_ms_a_second(host: Host) -> None:
    host.stalled("cpu", 1_250_000, 999_999)  # full of cpu means nothing for a host
    host.stalled("memory", 1_000_500, 500_250)
    host.stalled("io", 1_900_000, 1_300_000)
    assert host.row()["psi"] == {
        "cpu_some_ms_per_s": 250.0,
        "memory_some_ms_per_s": 0.5,
        "memory_full_ms_per_s": 0.25,
        "io_some_ms_per_s": 900.0,
        "io_full_ms_per_s": 800.0,
    }


def test_what_the_kernel_does_not_have_is_null(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.cpu("1000 0 0 9000 0 0 0", "1000 0 0 9000 0 0 0")  # as before steal was counted
    host.write("proc/meminfo", "MemTotal: 2000000 kB\nMemFree: 100000 kB\n")
    (tmp_path / "proc/diskstats").unlink()
    for name in ("cpu", "memory", "io"):
        (tmp_path / "proc/pressure" / name).unlink()
    host.tick()
    host.cpu("1050 0 0 9040 10 0 0", "1050 0 0 9040 10 0 0")
    found = host.tick()
    (row,) = found["host_extra.jsonl"]
    assert (row["iowait_pct"], row["steal_pct"], row["core_util_pct"]) == (10.0, None, [50.0, None])
    assert (row["mem_available_mb"], row["disks"], row["psi"]) == (None, None, None)
    assert found["marks.jsonl"] == []


def test_a_kernel_that_keeps_pressure_of_memory_alone_has_null_for_the_rest(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for name in ("cpu", "io"):
        (tmp_path / "proc/pressure" / name).unlink()
    host.tick()
    psi = host.row()["psi"]
    assert {name for name, value in psi.items() if value is None} == {
        "cpu_some_ms_per_s",
        "io_some_ms_per_s",
        "io_full_ms_per_s",
    }


def test_iowait_that_goes_back_is_null_and_a_mark_and_utilisation_stays_true(host: Host) -> None:
    host.cpu("1000 0 0 9000 50 0 0 0 0 0", "500 0 0 4500 50 0 0 0 0 0", "500 0 0 4500 0 0 0 0 0 0")
    host.tick()
    # 5 ticks of iowait are plain idle now; 100 more pass on each core, 30 of them busy on cpu0
    host.cpu("1030 0 0 9175 45 0 0 0 0 0", "530 0 0 4575 45 0 0 0 0 0", "500 0 0 4600 0 0 0 0 0 0")
    found = host.tick()
    (row,) = found["host_extra.jsonl"]
    assert (row["iowait_pct"], row["steal_pct"], row["core_util_pct"]) == (None, 0.0, [30.0, 0.0])
    (mark,) = found["marks.jsonl"]
    assert (mark["collector"], mark["kind"]) == ("host", "reset")
    assert (mark["from_ms"], mark["to_ms"]) == (T0 + 2000, T0 + 3000)
    assert mark["detail"] == "idle, iowait: a counter went back by 5"


def test_a_core_whose_counters_go_back_is_null_and_its_neighbour_is_not(host: Host) -> None:
    host.cpu("1080 0 0 9120 0 0 0 0 0 0", "0 0 0 10 0 0 0 0 0 0", "580 0 0 4520 0 0 0 0 0 0")
    found = host.tick()
    assert found["host_extra.jsonl"][0]["core_util_pct"] == [None, 80.0]
    assert found["marks.jsonl"][0]["detail"] == "cpu0: a counter went back by 4490"
    host.cpu("1090 0 0 9210 0 0 0 0 0 0", "10 0 0 100 0 0 0 0 0 0", "580 0 0 4520 0 0 0 0 0 0")
    assert host.row()["core_util_pct"] == [10.0, None]  # cpu1: no tick passed, so no share is known


def test_steal_that_goes_back_makes_every_share_null(host: Host) -> None:
    host.cpu("1000 0 0 9000 0 0 0 90 0 0", "500 0 0 4500 0 0 0 90 0 0", "500 0 0 4500 0 0 0 0 0 0")
    host.tick()
    host.cpu("1050 0 0 9050 0 0 0 80 0 0", "550 0 0 4550 0 0 0 80 0 0", "500 0 0 4500 0 0 0 0 0 0")
    row = host.row()
    assert (row["iowait_pct"], row["steal_pct"], row["core_util_pct"][0]) == (None, None, None)


def test_an_offline_core_is_null_without_a_mark_and_keeps_its_place(host: Host) -> None:
    host.cpu("1050 0 0 9050 0 0 0 0 0 0", "550 0 0 4550 0 0 0 0 0 0")
    found = host.tick()
    assert found["host_extra.jsonl"][0]["core_util_pct"] == [50.0, None]
    assert found["marks.jsonl"] == []
    host.cpu("1150 0 0 9050 0 0 0 0 0 0", "650 0 0 4550 0 0 0 0 0 0", "500 0 0 4500 0 0 0 0 0 0")
    assert host.row()["core_util_pct"] == [100.0, None]  # nobody knows what it did before
    host.cpu("1250 0 0 9050 0 0 0 0 0 0", "700 0 0 4550 0 0 0 0 0 0", "550 0 0 4500 0 0 0 0 0 0")
    assert host.row()["core_util_pct"] == [100.0, 100.0]


def test_a_core_that_is_offline_from_the_start_has_a_place_too(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("sys/devices/system/cpu/present", "0-1,3\n")
    host.tick()
    assert len(host.row()["core_util_pct"]) == 4


def test_a_disk_that_begins_anew_is_null_and_a_mark(host: Host) -> None:
    host.disk("1 0 8 1 0 0 0 0 0 1 1")
    found = host.tick()
    (disk,) = found["host_extra.jsonl"][0]["disks"]
    assert [value for name, value in disk.items() if name != "dev"] == [None] * 5
    assert found["marks.jsonl"][0]["detail"].startswith("nvme0n1: a counter went back by ")
    host.disk("2 0 16 1 0 0 0 0 0 11 1")
    assert host.row()["disks"][0]["busy_pct"] == 1.0


def test_pressure_that_goes_back_is_null_and_a_mark(host: Host) -> None:
    host.stalled("io", 10, 500_000)
    found = host.tick()
    psi = found["host_extra.jsonl"][0]["psi"]
    assert (psi["io_some_ms_per_s"], psi["io_full_ms_per_s"]) == (None, 0.0)
    assert found["marks.jsonl"][0]["detail"] == "psi io_some: a counter went back by 999990"


def test_every_nic_but_the_primary_and_lo_has_a_row(host: Host) -> None:
    host.nics(eth1=(2, 4000, 2500), docker0=(5, 10, 10))
    (row,) = host.tick(2000)["links.jsonl"]  # docker0 is new: nobody knows what it did before
    assert row == {
        "ts_ms": T0 + 3000,
        "link": "vm1.nic.eth1",
        "rx_Bps": 1500,
        "tx_Bps": 250,
        "mono_ms": MONO0 + 3000,
        "rx_bytes_total": 4000,
        "tx_bytes_total": 2500,
    }
    host.nics(eth1=(2, 4000, 2500), docker0=(5, 110, 10))
    rows = host.tick()["links.jsonl"]
    assert [(row["link"], row["rx_Bps"]) for row in rows] == [("vm1.nic.eth1", 0), ("vm1.nic.docker0", 100)]


@pytest.mark.parametrize(("ifindex", "received"), [(2, 999), (9, 4000)])
def test_a_nic_that_begins_anew_has_no_row_and_a_mark(host: Host, ifindex: int, received: int) -> None:
    host.nics(eth1=(ifindex, received, 3000))
    found = host.tick()
    assert found["links.jsonl"] == []
    assert found["marks.jsonl"][0]["detail"].startswith("vm1.nic.eth1: ")
    host.nics(eth1=(ifindex, received + 50, 3000))
    assert host.tick()["links.jsonl"][0]["rx_Bps"] == 50


def test_a_file_longer_than_one_read_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    monkeypatch.setattr(hostfiles, "_BLOCK", 7)
    host.tick()
    host.nics(eth1=(2, 1100, 2000))
    assert host.tick()["links.jsonl"][0]["rx_Bps"] == 100


ticks = st.tuples(*[st.integers(0, 10**6)] * 8)


@given(ticks, ticks)
def test_shares_are_within_0_and_100_or_null(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    from tracekit.collect.host import host_row  # noqa: PLC0415 - beside its use

    readings = [
        hostfiles.Reading(
            Stamp(T0 + ms, MONO0 + ms),
            1,
            hostfiles.parse_cpu(
                f"cpu {' '.join(map(str, counts))}\ncpu0 {' '.join(map(str, counts))}\n".encode()
            ),
            None,
            None,
            {},
            {},
        )
        for ms, counts in ((0, before), (1000, after))
    ]
    resets: list[str] = []
    row = host_row(readings[0], readings[1], resets)
    shares = [row["iowait_pct"], row["steal_pct"], *row["core_util_pct"]]
    assert all(share is None or 0 <= share <= 100 for share in shares)
    user, nice, system, idle, iowait, *more = (now - last for last, now in zip(before, after, strict=True))
    busy = [user, nice, system, *more]
    if min(*busy, idle + iowait) < 0:
        assert shares == [None, None, None]
        assert resets
    elif min(idle, iowait) < 0 and sum(busy) + idle + iowait:
        assert shares[0] is None
        assert None not in shares[1:]
        assert resets
    else:
        assert not resets


# --- what parse makes of it


def extra(at_ms: int, **more: Any) -> Row:
    return {"ts_ms": T0 + at_ms, "steal_pct": 1.5, "core_util_pct": [3.0, None], **more}


def test_the_rows_go_into_the_trace_with_node_and_stage_once_each(tmp_path: Path) -> None:
    files: dict[str, list[Row] | bytes] = {
        "links.jsonl": [nic(0)],
        "host_extra.jsonl": [
            extra(2000, mono_ms=52_000),
            extra(1000, mono_ms=51_000),
            extra(2000, mono_ms=52_000),
            extra(2000, mono_ms=53_000),  # after the clock was set back
        ],
    }
    run_dir = parsed(tmp_path, files)
    rows = rows_of(run_dir, "host_extra.jsonl")
    assert [(row["ts_ms"] - T0, row["mono_ms"]) for row in rows] == [
        (1000, 51_000),
        (2000, 52_000),
        (2000, 53_000),
    ]
    assert rows[0] == {**extra(1000, mono_ms=51_000), "node": "vm1", "stage": "edge"}
    assert quality_of(run_dir)["inputs"]["host_extra.jsonl"] == {
        "lines": 4,
        "accepted": 3,
        "rejected": {},
        "duplicates": 1,
    }


def test_a_share_beyond_100_is_rejected(tmp_path: Path) -> None:
    files: dict[str, list[Row] | bytes] = {
        "links.jsonl": [nic(0)],
        "host_extra.jsonl": [extra(1000, core_util_pct=[100.5])],
    }
    assert quality_of(parsed(tmp_path, files))["inputs"]["host_extra.jsonl"]["rejected"] == {"type": 1}


def test_every_link_of_the_trace_is_in_links_json_and_only_the_primary_counts(tmp_path: Path) -> None:
    links = [nic(0), nic(0, link="vm1.nic.eth1"), nic(1000, link="vm1.nic.br-1.2"), nic(2000, link="x--y")]
    reset = {"ts_ms": T0, "collector": "host", "kind": "reset", "from_ms": T0, "to_ms": T0 + 5000}
    run_dir = parsed(tmp_path, {"links.jsonl": links, "marks.jsonl": [reset]})
    table = json.loads((run_dir / "cctf" / "links.json").read_bytes())
    assert [(one["link"], one["iface"]) for one in table] == [
        ("vm1.nic", None),
        ("vm1.nic.br-1.2", "br-1.2"),
        ("vm1.nic.eth1", "eth1"),
        ("x--y", None),
    ]
    assert {(one["u"], one["v"], one["BW_bps"], one["PR_s"]) for one in table} == {
        ("vm1", "vm1.net", 0, None)
    }
    account = quality_of(run_dir)["collectors"]
    assert (account["nic"]["expected"], account["nic"]["got"]) == (5, 1)
    assert account["nic"]["gaps"][0]["reason"] == "unknown"  # the mark is of another series
    assert set(account) == {"cpu", "mem", "nic"}
    assert kinds(run_dir) == ["reset"]


def test_show_has_a_line_for_what_there_is(tmp_path: Path) -> None:
    disks = [{"dev": "sda", "read_Bps": 2000}, {"dev": "sdb", "read_Bps": None}]
    rows = [extra(1000, disks=disks), extra(2000, disks=[])]
    run_dir = parsed(tmp_path, {"links.jsonl": [nic(0)], "host_extra.jsonl": rows})
    shown = [line.split() for line in summarise(run_dir / "cctf")]
    assert [words[-5:] for words in shown if words[:2] == ["steal", "%"]] == [["1.5", "/", "1.5", "/", "1.5"]]
    assert [words[-2:] for words in shown if words[:2] == ["disk", "read"]] == [["2.0", "kB/s"]]
    assert not [words for words in shown if words[:2] == ["iowait", "%"]]
