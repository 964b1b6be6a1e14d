#!/usr/bin/env python3
"""Turn logs into invocations: run the adapter SOURCE over the files IN; without SOURCE list the adapters.

make adapt SOURCE=nginx IN="/var/log/nginx/access.log*" RUN_ID=run1 [NODE_ID= STAGE= TAG=]

An adapter is a program in tools/adapters/; each has its own --help and can be called itself.
"""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.errors import UsageError

FOLDER = ROOT / "tools" / "adapters"
NO_LOG = {"run_task"}  # wraps a command, and reads no log


def _summaries() -> dict[str, str]:
    """What each program there says of itself."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        summary = re.search(r"^# Summary: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        found[path.stem] = summary.group(1) if summary else ""
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Become the adapter."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    source, known = settings["SOURCE"], _summaries()
    if not source:
        for name, summary in known.items():
            cli.out(f"  {name:<10} {summary}")
        return cli.DONE
    if source in NO_LOG:
        raise UsageError(f"{source} reads no log; see tools/adapters/{source}.py --help")
    if source not in known:
        raise UsageError(f"SOURCE={source!a} is none of {', '.join(sorted(known.keys() - NO_LOG))}")
    try:
        options = shlex.split(settings["ADAPT_OPTIONS"])
    except ValueError as error:
        raise UsageError(f"ADAPT_OPTIONS: {error}") from error
    given = {name: settings[name] for name in settings.given}
    command = [sys.executable, "-I", str(FOLDER / f"{source}.py"), *options]
    return os.execve(sys.executable, command, {**os.environ, **given})


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
