"""The collectors there are: every program in tools/collectors/, described by its own first comment block.

    # Summary: what it samples, in one line
    # Series: cpu            its name in quality.json and in marks
    # Writes: a.jsonl b.jsonl    raw files; the first takes its plain lines
    # Needs: mpstat (package sysstat), ...
    # Switch: PROC_SAMPLING  optional: a variable that turns it off with 0
    # Errors: procmon.err    optional: the raw file for its messages (stderr)

A program put there is found by this module, by `make doctor`, by start and by the tests.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tracekit import ROOT
from tracekit.errors import TracekitError
from tracekit.settings import Settings

FOLDER = ROOT / "tools" / "collectors"
_FIELD = re.compile(r"^# ([A-Z][a-z]+): *(.*)$")
_NEED = re.compile(r"([\w.-]+) \(package ([\w.-]+)\)")


@dataclass(frozen=True)
class Collector:
    """One program of tools/collectors/."""

    name: str
    path: Path
    summary: str
    series: str
    writes: tuple[str, ...]
    needs: tuple[tuple[str, str], ...]  # (program, package)
    switch: str | None
    errors: str | None

    def missing(self) -> list[str]:
        """What it needs and PATH lacks, as "program (package name)"."""
        return [f"{program} (package {package})" for program, package in self.needs if not _found(program)]


def _found(program: str) -> bool:
    return shutil.which(program) is not None


def describe(path: Path) -> Collector:
    """Read a collector's header. Raises TracekitError where a field is missing."""
    fields: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        if found := _FIELD.match(line):
            fields[found.group(1)] = found.group(2)
    try:
        return Collector(
            name=path.stem,
            path=path,
            summary=fields["Summary"],
            series=fields["Series"],
            writes=tuple(fields["Writes"].split()),
            needs=tuple(_NEED.findall(fields.get("Needs", ""))),
            switch=fields.get("Switch"),
            errors=fields.get("Errors"),
        )
    except KeyError as error:
        raise TracekitError(f"{path.name}: its header lacks the line '# {error.args[0]}: ...'") from error


def collectors() -> list[Collector]:
    """All of them, by name."""
    return [describe(path) for path in sorted(FOLDER.iterdir()) if path.suffix in (".sh", ".py")]


def chosen(settings: Settings) -> list[Collector]:
    """Those that the settings do not turn off."""
    return [one for one in collectors() if one.switch is None or settings[one.switch] != "0"]
