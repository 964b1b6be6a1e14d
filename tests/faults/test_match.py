"""A PROC_MATCH that is no pattern, is empty, looks like an option, or means the collector itself."""

import time

from conftest import Checkout
from live import holder_of, lines_of, start, state_of


def test_collector_never_samples_itself(checkout: Checkout) -> None:
    start(checkout, "self", PROC_MATCH="make|bash|python|stat|setpriv|proc.py", PROC_REFRESH="1")
    time.sleep(1.1)
    own = {one["pid"] for one in state_of(checkout, "self")["collectors"].values()}
    own.add(holder_of(checkout, "self"))
    assert checkout.make("stop-collect", "RUN_ID=self").returncode == 0
    seen = lines_of(checkout.logs("self") / "proc_inventory.jsonl")
    assert not own & {row["pid"] for row in seen}
    assert [row for row in seen if "RUN_ID=self" in str(row.get("cmdline"))] == []
    assert "left out" in (checkout.logs("self") / "procmon.err").read_text()
