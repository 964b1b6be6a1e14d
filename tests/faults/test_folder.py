"""The directory of a run removed, renamed, read-only or another user's."""

import shutil

from conftest import Checkout
from live import Clean, holder_of, marks_of, start, state_of, wait_for


def test_removed_run_directory_ends_the_run_and_is_said(checkout: Checkout, finished_run: Clean) -> None:
    start(checkout, "vanished")
    shutil.rmtree(checkout.logs("vanished"))
    assert wait_for(lambda: holder_of(checkout, "vanished") is None, 5.0)
    finished_run("vanished")
    assert "was removed or renamed" in str(state_of(checkout, "vanished")["error"])
    start(checkout, "vanished")  # a removed directory is a new run
    assert checkout.make("stop-collect", "RUN_ID=vanished").returncode == 0
    assert marks_of(checkout, "vanished", "restart") == []
