"""What every command in tools/ shares: settings, messages, exit codes.

Only this module prints, reads what was typed, and turns errors into exit codes. Elsewhere the environment is
read where another program gets one.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tracekit import ROOT, settings
from tracekit.errors import DONE, FAILED, REJECTED, USAGE, TracekitError

__all__ = [
    "DONE",
    "FAILED",
    "REJECTED",
    "USAGE",
    "Progress",
    "load_settings",
    "out",
    "parser",
    "run",
    "shown",
    "warn",
    "write_rows",
]

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with rejected input"


def prog() -> str:
    """The command's name as messages show it: parse_sys for tools/parse_sys.py."""
    return Path(sys.argv[0]).stem


def out(text: str = "") -> None:
    """One line of the command's result, on stdout."""
    print(text, flush=True)


def warn(text: str) -> None:
    """One line for people, on stderr, with the command's name in front."""
    print(f"{prog()}: {text}", file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """A path as messages show it: from the checkout where it is inside, else as it is."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def write_rows(lines: bytes) -> None:
    """Whole lines to stdout at once, past Python's buffer: a collector's rows."""
    while lines:
        lines = lines[os.write(1, lines) :]


class Progress:
    """The part of a long job that is done, on stderr: one line, redrawn, for a terminal only."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next_s = time.monotonic() + 1
        self._drawn = ""

    def __call__(self, done: int, total: int) -> None:
        """Draw it anew, ten times a second at most, after the first second."""
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + 0.1
            self._drawn = f"{prog()}: {100 * done // max(total, 1)} %"
            sys.stderr.write(f"\r{self._drawn}")
            sys.stderr.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        """Erase it."""
        if self._drawn:
            sys.stderr.write("\r" + " " * len(self._drawn) + "\r")
            sys.stderr.flush()


class _Parser(argparse.ArgumentParser):
    """Its last line names the exit code, as that of every other error does."""

    def error(self, message: str) -> NoReturn:
        super().error(f"{message} (exit {USAGE})")


def parser(doc: str) -> argparse.ArgumentParser:
    """An argument parser whose help is the command's own docstring."""
    return _Parser(
        prog=prog(),
        description=doc.strip(),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def load_settings(**overrides: str | None) -> settings.Settings:
    """Settings from the environment and run_id.env; overrides (command-line arguments) come first."""
    environ = dict(os.environ)
    environ.update({name: value for name, value in overrides.items() if value is not None})
    return settings.resolve(environ, ROOT / settings.ENV_FILE)


def run(main: Callable[[Sequence[str] | None], int]) -> int:
    """Call main and return its exit code; an expected error becomes one line on stderr and its code."""
    os.umask(os.umask(0o077) | 0o027)  # what a run records is not for every user of the VM
    try:
        return main(None)
    except TracekitError as error:
        warn(f"{error} (exit {error.exit_code})")
        return error.exit_code
    except BrokenPipeError:  # the reader, head perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        warn(f"{where}{error.strerror or error} (exit {FAILED})")
        return FAILED
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
