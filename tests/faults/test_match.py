"""A PROC_MATCH that is no pattern, is empty, looks like an option, or means the collector itself."""

import time
from pathlib import Path

import pytest
from conftest import Checkout
from live import LO, holder_of, lines_of, start, state_of, stop
from workload import children


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "*", "[z-a]"])
def test_a_pattern_that_is_none_is_refused_before_anything_is_started(
    checkout: Checkout, pattern: str
) -> None:
    done = checkout.make("start-collect", "RUN_ID=nopattern", PROC_MATCH=pattern, **LO)
    assert done.returncode == 2
    assert "PROC_MATCH" in done.stderr
    assert not checkout.logs("nopattern").exists()


def test_an_empty_pattern_means_no_process_and_it_is_said(checkout: Checkout) -> None:
    done = checkout.make("start-collect", "RUN_ID=empty", PROC_MATCH="", PROC_REFRESH="1", **LO)
    assert done.returncode == 0, done.stderr
    assert "no process rows but of tasks (run_task): neither PROC_MATCH nor CONTAINER is given" in done.stdout
    time.sleep(1.2)
    stop(checkout, "empty")
    assert lines_of(checkout.logs("empty") / "proc_metrics.jsonl") == []
    assert lines_of(checkout.logs("empty") / "proc_inventory.jsonl") == []


def test_a_pattern_that_looks_like_an_option_is_a_pattern(checkout: Checkout, tmp_path: Path) -> None:
    with children(tmp_path, "tk-option", [b"-e x", b"x"], is_busy=False) as (meant, _):
        start(checkout, "option", PROC_MATCH="^-e x$")
        time.sleep(1.2)
        stop(checkout, "option")
    assert {row["pid"] for row in lines_of(checkout.logs("option") / "proc_metrics.jsonl")} == {meant}


@pytest.mark.parametrize("refresh", ["0", "1"])
def test_collector_never_samples_itself_nor_the_commands_of_its_run(checkout: Checkout, refresh: str) -> None:
    run_id = f"self-{refresh}"
    start(checkout, run_id, PROC_MATCH="make|bash|python|stat|setpriv|proc.py", PROC_REFRESH=refresh)
    time.sleep(1.1)
    assert checkout.make("status", f"RUN_ID={run_id}").returncode == 0
    own = {one["pid"] for one in state_of(checkout, run_id)["collectors"].values()}
    own.add(holder_of(checkout, run_id))
    stop(checkout, run_id)
    told = lines_of(checkout.logs(run_id) / "proc_inventory.jsonl")
    assert not own & {row["pid"] for row in told}
    calls = [row for row in told if str(checkout.root) in str(row.get("cmdline"))]
    calls += [row for row in told if "collect_sys" in str(row.get("cmdline"))]
    assert calls == []
    assert "left out" in (checkout.logs(run_id) / "procmon.err").read_text()
