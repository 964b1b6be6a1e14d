#!/usr/bin/env python3
"""check: refuse a bad variable before anything is done. table: print the variables for `make help`.
value NAME: print what a variable has, wherever that was given.

Needs nothing but Python, for it runs before set-up."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.settings import BY_NAME, SETTINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the one argument says."""
    parser = cli.parser(__doc__ or "")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check")
    verbs.add_parser("table")
    verbs.add_parser("value").add_argument("name", choices=BY_NAME, metavar="NAME")
    arguments = parser.parse_args(argv)
    if arguments.verb != "table":
        settings = cli.load_settings()
        if arguments.verb == "value":
            cli.out(settings[arguments.name])
        return cli.DONE
    for setting in SETTINGS:
        default = setting.default or setting.shown_default
        cli.out(f"  {setting.name:<16} {setting.help}" + (f" [{default}]" if default else ""))
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
