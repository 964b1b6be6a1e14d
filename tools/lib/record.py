#!/usr/bin/env python3
"""The recorder's process. start-collect runs it; its settings come in the environment.

The one argument is the descriptor that learns when every collector has given its first row."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, jsonl
from tracekit.collect import catalog
from tracekit.collect.hold import Hold
from tracekit.collect.recorder import Recorder
from tracekit.errors import TracekitError
from tracekit.runs import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Hold the run's lock and record until SIGTERM."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("ready", type=int)
    ready = parser.parse_args(argv).ready
    os.set_inheritable(ready, False)  # a collector that held it would keep the starter waiting
    settings = cli.load_settings()
    run = Run(settings["RUN_ID"])
    try:
        recorder = Recorder(Hold(run), catalog.chosen(settings), os.environ, ready)
    except (TracekitError, OSError) as error:
        os.write(ready, jsonl.encode({"error": str(error)}))
        return cli.FAILED
    return recorder.run()


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
