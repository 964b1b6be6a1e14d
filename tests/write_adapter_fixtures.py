"""Write what stands beside the named fixtures anew; review the diff, check the times by hand."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TAKEN = (0, 3)  # exit codes with which an adapter has written all


def main() -> int:
    """One .jsonl beside each .in that is named: records, placement events, rejects."""
    for path in map(Path, sys.argv[1:]):
        source = path.name.split("--")[0]
        run_id = f"fixture-{os.getpid()}"
        given = path.with_suffix(".env")
        settings = (
            dict(line.split("=", 1) for line in given.read_text().splitlines()) if given.exists() else {}
        )
        options = json.loads(settings.pop("OPTIONS", "[]"))
        env = {"PATH": os.environ["PATH"], "RUN_ID": run_id, "NODE_ID": "n1", "STAGE": "edge", **settings}
        command = [
            sys.executable,
            "-I",
            str(ROOT / "tools" / "adapters" / f"{source}.py"),
            *options,
            str(path),
        ]
        if subprocess.run(command, env=env, check=False).returncode not in TAKEN:
            return 1  # it has said why
        folder = ROOT / "logs" / run_id
        with tempfile.TemporaryFile() as out:
            for name in (f"invocations.{source}.jsonl", f"placement_events.{source}.jsonl"):
                if (folder / name).exists():
                    out.write((folder / name).read_bytes())
            for line in (folder / "rejected" / f"{source}.jsonl").read_bytes().splitlines():
                row = json.loads(line)
                out.write(json.dumps({"line": row["line"], "reason": row["reason"]}).encode() + b"\n")
            out.seek(0)
            path.with_suffix(".jsonl").write_bytes(out.read())
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
