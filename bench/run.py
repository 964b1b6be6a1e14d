#!/usr/bin/env python3
"""Run every bench/bench_*.py, or those named: bench/run.py parse. --help shows what each of them measures."""

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> int:
    """Each benchmark prints its own table."""
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    names = [word for word in sys.argv[1:] if word != "--help"] or known
    for name in names:
        module = import_module(f"bench_{name}")
        if "--help" in sys.argv:
            print(f"{name}: {(module.__doc__ or '').strip()}\n")
            continue
        print(f"== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        module.main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
