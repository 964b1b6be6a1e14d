"""The key-value store: busy, full, or with no path."""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Checkout
from services import serving

from app import kv, main
from tracekit.runs import state_home


def test_a_store_that_others_hold_is_503_and_serves_when_they_let_go(checkout: Checkout) -> None:
    with serving(checkout, "held") as held:
        (path,) = (state_home(checkout.root) / ".service").glob("*/kv.sqlite")
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            busy = httpx.post(f"{held}/kv/set/k", content=b"1", timeout=20)
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert "locked" in busy.json()["detail"]
        assert httpx.post(f"{held}/kv/set/k", content=b"1").status_code == 200


def test_workers_that_start_together_all_open_the_store(tmp_path: Path) -> None:
    """Each process spins until one moment that all of them know, then opens the store."""
    script = (
        "import sys, time; from pathlib import Path; from app.kv import Store\n"
        "for number in range(20):\n"
        "    moment = float(sys.argv[1]) + number * 0.05\n"
        "    while time.time() < moment: pass\n"
        "    Store(Path(sys.argv[2]) / str(number))\n"
    )
    words = [sys.executable, "-c", script, str(time.time() + 2), str(tmp_path)]
    workers = [subprocess.Popen(words, cwd=ROOT) for _ in range(4)]
    assert [worker.wait(timeout=30) for worker in workers] == [0] * 4


def test_only_a_full_store_is_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv, "MAX_FILE_BYTES", 64 << 10)
    store = kv.Store(tmp_path / "kv.sqlite")
    with pytest.raises(kv.FullError, match="full"):
        for number in range(100):
            store.put(f"k{number}", b"x" * 4096)
    with closing(sqlite3.connect(tmp_path / "kv.sqlite")) as other:
        other.execute("DROP TABLE kv")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.put("k", b"1")


def test_without_a_path_a_worker_has_a_store_of_its_own_that_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KV_PATH", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def live() -> list[str]:
        async with main.api.router.lifespan_context(main.api):
            return [path.name for path in tmp_path.glob("svc-*/*")]

    assert "kv.sqlite" in asyncio.run(live())
    assert list(tmp_path.iterdir()) == []
