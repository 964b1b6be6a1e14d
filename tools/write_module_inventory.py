#!/usr/bin/env python3
"""Write logs/<RUN_ID>/module_inventory.json, or add modules to it; what is there stays.

Example: tools/write_module_inventory.py --run-id r1 --app-id shop --module svc:checkout:http
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import UsageError
from tracekit.inventory import write_module_inventory
from tracekit.runs import existing_run


def _module(text: str) -> dict[str, str | None]:
    module_id, _, rest = text.partition(":")
    name, _, kind = rest.partition(":")
    if not module_id:
        raise UsageError(f"--module {text!r}: wanted ID[:NAME[:TYPE]]")
    return {"module_id": module_id, "name": name or module_id, "type": kind or None}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the inventory of one run."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--run-id", help="the run; default: the live or the last one")
    parser.add_argument("--app-id", help="name of the app")
    parser.add_argument("--module", action="append", default=[], metavar="ID[:NAME[:TYPE]]")
    arguments = parser.parse_args(argv)
    run = existing_run(cli.load_settings(RUN_ID=arguments.run_id))
    write_module_inventory(run.dir, arguments.app_id, [_module(text) for text in arguments.module])
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
