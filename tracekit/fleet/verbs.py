"""What a user does with a fleet: set up, start at one second, stop, collect. Each may be repeated."""

import tempfile
from pathlib import Path

from tracekit import ROOT, jsonl
from tracekit.errors import UsageError
from tracekit.fleet.losses import losses
from tracekit.fleet.pack import write_archive
from tracekit.fleet.plays import LOCAL, Fleet, Outcome, Say
from tracekit.runs import new_run
from tracekit.settings import NAME, Settings

# Of what is typed for a fleet, that which holds for every host. NODE_ID and VM_IP are one VM's: the inventory
# says them.
FOR_ALL = (
    "STAGE",
    "IFACE",
    "BW_BPS",
    "PROC_SAMPLING",
    "CONTAINER",
    "PROC_MATCH",
    "PROC_REFRESH",
    "PROC_INTERVAL_MS",
    "HOST_EXTRAS",
    "SCEN",
    "PEERS",
    "PEER_PORT",
    "STRICT",
)
FETCHED = ROOT / "fetched"
_LAST = FETCHED / ".run_id"


def given_for_all(settings: Settings) -> list[str]:
    """The names whose values go to every host: typed, or exported. run_id.env speaks of this machine only."""
    return [name for name in FOR_ALL if settings.given.get(name) == "environment"]


def begun_run(settings: Settings) -> str:
    """RUN_ID where given, else an invented one; noted for the commands that come after."""
    run_id = settings["RUN_ID"] or new_run().run_id
    FETCHED.mkdir(exist_ok=True)
    with jsonl.replacing(_LAST) as stream:
        stream.write(run_id.encode())
    return run_id


def chosen_run(settings: Settings) -> str:
    """RUN_ID where given, else that of the last start from here. Raises UsageError where there is none."""
    noted = _LAST.read_text(encoding="utf-8", errors="replace") if _LAST.is_file() else ""
    run_id = settings["RUN_ID"] or noted
    if not NAME.fullmatch(run_id):
        raise UsageError("no run of a fleet was started from here: give RUN_ID=")
    return run_id


def set_up(fleet: Fleet) -> Outcome:
    """Push what is here to every host, and install there what is missing."""
    with tempfile.TemporaryDirectory(prefix="tracekit-push.") as folder:
        archive = Path(folder) / "tracekit.tar.gz"
        outcome = fleet.play("push", archive_id=write_archive(archive), archive=str(archive))
    if outcome.well:
        outcome.add(fleet.play("setup", outcome.well))
    return outcome


def start(fleet: Fleet, run_id: str, say: Say, hosts: set[str] | None = None) -> Outcome:
    """Start the collectors of every host at one second, and say how close to it they came."""
    outcome = fleet.play("start", hosts, run_id=run_id)
    late_ms = outcome.let_go_ms.values()
    if late_ms:
        spread_ms = max(late_ms) - min(late_ms)
        say(
            f"{len(late_ms)} began at most {max(late_ms):.1f} ms after the common second, "
            f"within {spread_ms:.1f} ms of each other, each by its own clock"
        )
    return outcome


def stop(fleet: Fleet, run_id: str, hosts: set[str] | None = None) -> Outcome:
    """Stop the collectors of every host, and the services that start has started."""
    return fleet.play("stop", hosts, run_id=run_id)


def collect(fleet: Fleet, run_id: str, say: Say, raw: str, hosts: set[str] | None = None) -> Outcome:
    """Parse on every host, fetch, merge and validate here, and say what the trace lacks."""
    outcome = fleet.play("collect", hosts, run_id=run_id, raw=raw)
    if LOCAL in outcome.well:
        outcome.merged = outcome.well - {LOCAL}
        for line in losses(jsonl.read_document(ROOT / "unified_cctf" / run_id / "quality.json")):
            say(line)
    return outcome
