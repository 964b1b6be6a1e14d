#!/usr/bin/env python3
"""check: refuse a bad variable before anything is done. table: print the variables for `make help`.

Needs nothing but Python, for it runs before set-up."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.settings import SETTINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the one argument says."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("verb", choices=("check", "table"))
    verb = parser.parse_args(argv).verb
    if verb == "check":
        cli.load_settings()
        return cli.DONE
    for setting in SETTINGS:
        default = setting.default or setting.shown_default
        cli.out(f"  {setting.name:<16} {setting.help}" + (f" [{default}]" if default else ""))
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
