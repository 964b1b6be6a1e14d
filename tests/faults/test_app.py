"""The service when its disk is full, and under steady load."""

import os
import time

import httpx
from conftest import Checkout
from live import wait_for
from services import events, processes_of, rows, serving
from workload import FULL, fill

from tracekit.collect import procfs


def test_a_full_disk_fails_no_request_and_is_one_mark_when_there_is_room_again(small: Checkout) -> None:
    with serving(small, "full") as base, httpx.Client(base_url=base) as client:

        def ask() -> int:
            return client.post("/json/validate", content=b"[1]").status_code

        assert [ask() for _ in range(20)] == [200] * 20
        filled = fill(small)
        asked = 0
        ended = time.monotonic() + 4
        while time.monotonic() < ended:
            assert ask() == 200
            asked += 1
        filled.unlink()
        assert wait_for(lambda: rows(small.logs("full"), "marks.jsonl"), 5)
        before = len(events(small.logs("full")))
        assert [ask() for _ in range(5)] == [200] * 5
        assert len(events(small.logs("full"))) == before + 5
    (mark,) = rows(small.logs("full"), "marks.jsonl")
    assert (mark["collector"], mark["kind"], mark["reason"]) == ("app", "enospc", "ENOSPC")
    assert 3000 < mark["to_ms"] - mark["from_ms"] < 9000
    told = dict(part.split(": ") for part in mark["detail"].removesuffix(" could not be written").split(", "))
    lost = int(next(text for name, text in told.items() if name.startswith("events.")).split()[0])
    assert before == 20 + asked - lost  # every line is there, whole, or counted
    assert lost > asked / 2


def rss_kb(pid: int) -> int:
    return int(procfs.read(pid, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_a_soak_leaves_memory_and_descriptors_as_they_were(checkout: Checkout) -> None:
    seconds = 1200 if FULL else 5
    with serving(checkout, "soak") as base, httpx.Client(base_url=base) as client:
        (pid,) = processes_of("soak")

        def work(until: float) -> int:
            count, due = 0, time.monotonic()
            while time.monotonic() < until:
                path = f"/kv/set/k{count % 50}" if count % 2 else "/hash/sha256"
                assert client.post(path, content=b"x" * 1000).status_code == 200
                count, due = count + 1, due + 0.005
                time.sleep(max(0, due - time.monotonic()))
            return count

        count = work(time.monotonic() + 2)  # caches and threads come into being
        before = rss_kb(pid), len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        count += work(time.monotonic() + seconds)
        after = rss_kb(pid), len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    assert len(events(checkout.logs("soak"))) == count
    assert after[0] - before[0] < 8 << 10
    assert after[1] <= before[1] + 2


def test_files_that_are_removed_are_opened_anew(checkout: Checkout) -> None:
    folder = checkout.logs("removed")
    with serving(checkout, "removed") as base:
        httpx.get(f"{base}/work")
        assert wait_for(lambda: rows(folder, "system_stats.*.jsonl"), 3)
        for path in folder.glob("*.jsonl"):
            path.unlink()
        assert wait_for(lambda: rows(folder, "system_stats.*.jsonl"), 4)
        httpx.get(f"{base}/work")
        assert len(events(folder)) == 1
