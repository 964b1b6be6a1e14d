"""What start-collect and the load generator both write into run_meta.json."""

from typing import Any

import msgspec

from tracekit.jsonl import read_document
from tracekit.records import RunMeta
from tracekit.runs import Run
from tracekit.settings import Settings


def run_meta_so_far(run: Run) -> dict[str, Any]:
    """run_meta.json with each of its fields; null is what nobody has told yet."""
    unknown = dict.fromkeys(one.name for one in msgspec.structs.fields(RunMeta) if one.name != "node")
    return unknown | read_document(run.dir / "run_meta.json")


def service_as_given(settings: Settings) -> dict[str, Any]:
    """What the user said of the service that is driven: scen, img, workers; a default is not said."""
    told = {"scen": settings["SCEN"], "img": settings["IMG"], "workers": int(settings["WORKERS"])}
    return {field: value for field, value in told.items() if field.upper() in settings.given}
