#!/usr/bin/env python3
"""Write docs/schema/<file>.schema.json, a JSON Schema (2020-12) for each file of a cctf."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.schema import schemas


def main(argv: Sequence[str] | None = None) -> int:
    """Write every schema."""
    cli.parser(__doc__ or "").parse_args(argv)
    folder = ROOT / "docs" / "schema"
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
