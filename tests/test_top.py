"""The view of a live run: what it shows of raw files with known values, and how it behaves in a terminal."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Checkout, need
from live import Clean, start, stop
from runs import T0, cpu, line, make_run, mark, mem, nic, node_meta, proc
from workload import has_terminals

from tracekit.runs import Run
from tracekit.top.look import HostRow, look
from tracekit.top.processes import Names
from tracekit.top.requests import served
from tracekit.top.tails import rows, tail
from tracekit.top.view import lines


def event(at_ms: int, rt_ms: float, status: int = 200) -> dict[str, object]:
    return {"ts_enqueue": T0 + at_ms - int(rt_ms), "ts_end": T0 + at_ms, "rt_ms": rt_ms, "status": status}


def seen(pid: int, cmdline: str) -> dict[str, object]:
    row = proc(1000, 0, pid)
    return {"ts_ms": T0, "event": "seen", "pid": pid, "starttime": row["starttime"], "cmdline": cmdline}


def a_run(folder: Path) -> Path:
    """Ten seconds of a host, of two processes at 50 and 25 % of a core, and of two workers."""
    ticks = range(1000, 11_000, 1000)
    own = {"clk_tck": 100, "mem_mb": 400}
    return make_run(
        folder / "logs" / "r1",
        {
            "resources.jsonl": [row for at in ticks for row in (cpu(at, cpu_util=at / 100), mem(at))],
            "links.jsonl": [
                row for at in ticks for row in (nic(at), {**nic(at), "link": "vm1.nic.eth1", "rx_Bps": 9**9})
            ],
            "proc_metrics.jsonl": [
                row
                for at in ticks
                for row in (proc(at, at // 40, 7, rss_kb=1000), proc(at, at // 20, 8, rss_kb=5000))
            ],
            "proc_inventory.jsonl": [seen(7, "ffmpeg -i a"), seen(8, "evil \x1b[2J\u0665")],
            "events.31.jsonl": [event(4000, 900.0)] + [event(6000 + n, float(n)) for n in range(1, 10)],
            "events.32.jsonl": [event(9000, 10.0, 500)],
            "system_stats.31.jsonl": [
                {"ts_ms": T0 + at, "metric": "in_flight", "value": value}
                for at, value in ((9000, 9), (10_000, 2))
            ],
            "system_stats.32.jsonl": [{"ts_ms": T0 + 10_000, "metric": "in_flight", "value": 1}],
            "marks.jsonl": [
                mark("nic", "link_down", 1000, None, reason="down"),
                mark("proc", "ticks", 1000, 2000),
            ],
        },
        documents={"node_meta.json": node_meta("r1", **own)},
    )


def picture(root: Path, width: int = 100, height: int = 40) -> list[str]:
    run = Run("r1", root)
    return lines(look(run, 0), Names(run.dir / "proc_inventory.jsonl"), width, height)


def line_with(shown: list[str], word: str) -> str:
    (found,) = [one for one in shown if word in one]
    return " ".join(found.split())


def test_every_figure_is_that_of_the_raw_rows(tmp_path: Path) -> None:
    a_run(tmp_path)
    shown = picture(tmp_path)
    assert shown[0].split("   ") == [
        "run r1",
        "vm1 (edge)",
        "22:13:30 UTC",  # 1,700,000,010 s
        "0:00:10",
        "ENDED; this is how it ended",
    ]
    assert line_with(shown, "CPU  ").startswith("CPU 100 %")
    assert line_with(shown, "free memory").startswith("free memory 100 MB")
    assert line_with(shown, "NIC in").startswith("NIC in 10 B/s")
    assert line_with(shown, "NIC out").startswith("NIC out 20 B/s")
    # Ten requests in the last 5 s, of 1 to 10 ms; by nearest rank the 5th and the 10th.
    assert line_with(shown, "requests") == (
        "requests 2.0/s p50 5.0 ms p95 10.0 ms errors 1 in flight 3 (last 5 s)"
    )
    assert line_with(shown, "ffmpeg") == "7 25.0 1.0 ffmpeg -i a"
    assert line_with(shown, "evil") == "8 50.0 5.1 evil \\x1b[2J\\u0665"
    assert shown.index(next(one for one in shown if "evil" in one)) < len(shown) - 2
    assert line_with(shown, "mark") == "22:13:21 mark nic link_down down"


@pytest.mark.parametrize(("width", "height"), [(100, 40), (40, 12), (20, 5), (1, 1)])
def test_nothing_is_wider_or_higher_than_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    a_run(tmp_path)
    shown = picture(tmp_path, width, height)
    assert 0 < len(shown) <= height
    assert max(map(len, shown)) <= width


def test_what_is_not_known_is_a_dash(tmp_path: Path) -> None:
    files = {"proc_metrics.jsonl": [proc(1000, 5)], "events.1.jsonl": b""}
    make_run(tmp_path / "logs" / "r1", files, documents={"node_meta.json": None})
    shown = picture(tmp_path)
    assert shown[0].startswith("run r1   ? (?)")
    assert line_with(shown, "CPU  ") == "CPU -"
    assert line_with(shown, "requests") == "requests 0.0/s p50 - p95 - errors 0 in flight - (last 5 s)"
    assert line_with(shown, " 7 ") == "7 - 0.1 ?"


def test_a_process_that_ended_or_whose_pid_was_used_again_is_told_apart(tmp_path: Path) -> None:
    born = {"born_ms": 2500}
    rows_ = [proc(2000, 500), proc(2000, 3, 8), proc(3000, 1, **born), proc(4000, 11, **born)]
    make_run(tmp_path / "logs" / "r1", {"proc_metrics.jsonl": rows_})
    shown = picture(tmp_path)
    assert line_with(shown, "(1 processes)")
    assert line_with(shown, " 7 ") == "7 10.0 0.1 ?"  # 10 ticks of 10 ms in a second


def test_nothing_sampled_is_said(tmp_path: Path) -> None:
    make_run(tmp_path / "logs" / "r1")
    assert picture(tmp_path)[0] == "run r1   vm1 (edge)   nothing was sampled"


def test_a_tail_holds_whole_lines_only_and_a_bad_one_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    path.write_bytes(line(cpu(1)) + line(cpu(2)) + b"\xff{\n" + line(cpu(3)) + b'{"ts_ms":17')
    data, is_whole = tail(path, 1000)
    assert is_whole
    assert [row.ts_ms - T0 for row in rows(data, HostRow)] == [1, 2, 3]
    data, is_whole = tail(path, path.stat().st_size - 1)
    assert not is_whole
    assert [row.ts_ms - T0 for row in rows(data, HostRow)] == [2, 3]
    assert tail(tmp_path / "none", 10) == (b"", True)


def test_a_rate_beyond_the_tail_is_of_the_time_that_the_tail_covers(tmp_path: Path) -> None:
    per_s = 10_000
    path = tmp_path / "events.1.jsonl"
    one = b'{"ts_end":%d,"rt_ms":1.0,"more":"' + b"x" * 300 + b'"}\n'
    path.write_bytes(b"".join(one % (T0 + n * 1000 // per_s) for n in range(per_s)))
    found = served(tmp_path, T0 + 1000, 5000)
    assert found is not None
    assert found.per_s == pytest.approx(per_s, rel=0.01)


# --- in a terminal


class Terminal:
    """A command at a pty of 30 lines and 90 columns."""

    def __init__(self, command: list[str], root: Path) -> None:
        need(has_terminals(), "a pty (/dev/pts)")
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._master, self._slave = master, slave
        environ = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=root, env=environ, start_new_session=True
        )
        self.text = ""

    def read_until(self, word: str, seconds: float = 15) -> bool:
        ends_s = time.monotonic() + seconds
        while word not in self.text and time.monotonic() < ends_s:
            if select.select([self._master], [], [], 0.1)[0]:
                self.text += os.read(self._master, 65536).decode()
        return word in self.text

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        code = self.process.wait(15)
        self.read_until("\0", 0.3)
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@contextmanager
def at_terminal(checkout: Checkout, *command: str) -> Iterator[Terminal]:
    terminal = Terminal(list(command), checkout.root)
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_live_run_is_followed_until_a_key_and_make_sees_no_failure(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "toplive", NODE_ID="vm9")
    with at_terminal(checkout, "make", "top", "RUN_ID=toplive") as terminal:
        assert terminal.read_until("live")
        assert terminal.read_until("mpstat       running")
        first = re.search(r"vm9 \(cloud\)   (\S+) UTC", terminal.text)
        assert first is not None
        terminal.text = ""
        assert terminal.read_until(" UTC")  # drawn again
        assert first.group(1) not in terminal.text
        assert not terminal.is_as_before()
        terminal.type(b"x\x03")  # any key, then Ctrl-C
        assert terminal.end() == 0
        assert terminal.text.endswith("\x1b[?25h\x1b[?1049l")
        assert terminal.is_as_before()
    with at_terminal(checkout, ".venv/bin/python", "-I", "tools/top.py") as terminal:
        assert terminal.read_until("live")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 0
        assert terminal.is_as_before()
    stop(checkout, "toplive")
    finished_run("toplive")


def test_the_end_of_the_run_ends_the_view_and_is_said(checkout: Checkout) -> None:
    start(checkout, "topend")
    with at_terminal(checkout, "make", "top", "RUN_ID=topend") as terminal:
        assert terminal.read_until("live")
        stop(checkout, "topend")
        assert terminal.end() == 0
        last = terminal.text.rpartition("\x1b[?1049l")[2]
        assert "ENDED" in last
        assert "run topend" in last


def test_without_a_terminal_it_is_one_picture(checkout: Checkout) -> None:
    a_run(checkout.root)
    done = checkout.make("top", "RUN_ID=r1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run r1 ")
    assert "\x1b" not in done.stdout
    missing = checkout.make("top", "RUN_ID=nosuch")
    assert missing.returncode == 2
    assert "no such run: logs/nosuch does not exist" in missing.stderr
