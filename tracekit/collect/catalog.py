"""The collectors there are: every program in tools/collectors/, described by its own first comment block.

    # Summary: CPU utilisation of the host, once a second.
    # Series: cpu
    # Writes: resources.jsonl
    # Needs: mpstat (package sysstat)

docs/architecture.md has the table of the fields. A program put there is found by this module, by set-up, by
start and by the tests.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tracekit import ROOT
from tracekit.errors import TracekitError
from tracekit.settings import BY_NAME, Settings

FOLDER = ROOT / "tools" / "collectors"
_FIELD = re.compile(r"^# ([A-Z][a-z]+): *(.*)$")
_NEED = re.compile(r"([\w.-]+) \(package ([\w.-]+)\)")
_ADDED = re.compile(r"([\w.-]+) \(with (\w+)\)")


@dataclass(frozen=True)
class Collector:
    """One program of tools/collectors/."""

    name: str
    path: Path
    summary: str
    series: str
    writes: tuple[str, ...]
    adds: tuple[tuple[str, str], ...]  # (file, the variable that must be given)
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
    adds = _pairs(path, "Adds: file (with VARIABLE)", _ADDED, fields)
    for variable in (fields.get("Switch", "RUN_ID"), *(variable for _, variable in adds)):
        if variable not in BY_NAME:
            raise TracekitError(
                f"{path.name}: {variable} is no variable; "
                "add it to tracekit/settings.py and to the Makefile's list"
            )
    try:
        return Collector(
            name=path.stem,
            path=path,
            summary=fields["Summary"],
            series=fields["Series"],
            writes=tuple(fields["Writes"].split()),
            adds=adds,
            needs=_pairs(path, "Needs: program (package name)", _NEED, fields),
            switch=fields.get("Switch"),
            errors=fields.get("Errors"),
        )
    except KeyError as error:
        raise TracekitError(f"{path.name}: its header lacks the line '# {error.args[0]}: ...'") from error


def _pairs(
    path: Path, form: str, wanted: "re.Pattern[str]", fields: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """What a field lists as "word (more), ...". form: how it is to be written, the field's name in front."""
    text = fields.get(form.partition(":")[0], "")
    found = [wanted.fullmatch(one.strip()) for one in text.split(",") if one.strip()]
    if not all(found):
        raise TracekitError(f"{path.name}: '{text}' is not written as '# {form}, ...'")
    return tuple((one[1], one[2]) for one in found if one)


def collectors() -> list[Collector]:
    """All of them, by name."""
    found = [path for path in sorted(FOLDER.iterdir()) if path.suffix in (".sh", ".py")]
    for path in found:
        if not os.access(path, os.X_OK):
            raise TracekitError(f"{path.name}: not executable; chmod +x tools/collectors/{path.name}")
    described = [describe(path) for path in found]
    for one in described:
        other = next(other for other in described if other.series == one.series)
        if other is not one:
            raise TracekitError(f"{one.path.name}: {other.path.name} has the series {one.series} already")
    return described


def chosen(settings: Settings) -> list[Collector]:
    """Those that the settings do not turn off, with the files that they write under these settings."""
    at_work = [one for one in collectors() if one.switch is None or settings[one.switch] not in ("", "0")]
    return [
        replace(one, writes=one.writes + tuple(file for file, variable in one.adds if settings[variable]))
        for one in at_work
    ]
