"""Who may call whom, read from the imports."""

import ast
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# A room may import the rooms on its right, and itself.
MAY_IMPORT = {
    "errors": set(),
    "units": set(),
    "records": set(),
    "jsonl": {"errors"},
    "settings": {"errors"},
    "schema": {"records"},
    "runs": {"errors", "jsonl", "settings"},
    "sources": {"units"},
    "inventory": {"errors", "jsonl"},
    "tasks": {"runs"},
    "adapt": {"errors", "jsonl", "records", "settings", "units"},
    "cli_adapt": {"adapt", "cli", "errors", "inventory", "jsonl", "runs", "settings"},
    "collect": {"errors", "inventory", "jsonl", "records", "runs", "settings", "sources", "tasks", "units"},
    "fleet": {"collect", "errors", "jsonl", "runs", "settings"},
    "service": {"collect", "errors", "inventory", "jsonl", "runs", "settings"},
    "load": {"collect", "errors", "jsonl", "runs", "service", "settings", "traffic"},
    "files": {"errors", "records"},
    "parse": {"errors", "files", "jsonl", "records", "units"},
    "merge": {"errors", "files", "jsonl", "records"},
    "validate": {"errors", "files", "records"},
    "dataset": {"errors", "records"},
    "traffic": {"records"},
    "replay": {"dataset", "errors", "jsonl", "files", "records"},
    "calibrate": {"dataset", "errors", "records", "replay", "verify"},
    "verify": {"dataset", "errors", "jsonl", "replay"},
    "overview": {"dataset", "records", "traffic"},
    "summary": {"dataset", "overview", "records", "traffic"},
    "report": {"dataset", "errors", "jsonl", "records"},
    "export": {"dataset", "errors", "jsonl", "records", "units"},
    "top": {"collect", "errors", "jsonl", "runs", "summary", "traffic", "units"},
    "cli": {"errors", "settings"},
    "cli_export": {"cli", "dataset", "errors", "export", "files", "jsonl", "runs", "settings", "validate"},
}
_PURE = (
    "calibrate",
    "dataset",
    "export",
    "files",
    "merge",
    "overview",
    "parse",
    "records",
    "replay",
    "report",
    "summary",
    "traffic",
    "verify",
)
MODULES = sorted((ROOT / "tracekit").rglob("*.py"))
APP = sorted((ROOT / "app").glob("*.py"))
COMMANDS = sorted((ROOT / "tools").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "tracekit").parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports, in full: tracekit.files.reading."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports_of(path) if name.startswith("tracekit.")}
    return names & set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert rooms_imported(path) == set()
        return
    assert rooms_imported(path) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_cli_prints_and_reads_argv(path: Path) -> None:
    if room_of(path) in ("cli", "__init__"):
        return
    text = path.read_text()
    assert "print(" not in text
    assert "sys.argv" not in text
    assert "sys.exit" not in text


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if room_of(path) in _PURE],
)
def test_what_makes_files_from_raw_data_reads_no_clock_and_no_environment(path: Path) -> None:
    modules = imports_of(path)
    assert not modules & {"time", "locale", "socket", "platform", "subprocess", "random", "uuid"}
    assert "os.environ" not in path.read_text()
    assert ".now(" not in path.read_text()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_do_not_import_each_other(path: Path) -> None:
    names = {other.stem for other in COMMANDS}
    assert not {name for name in imports_of(path) if name.split(".")[0] in names}


@pytest.mark.parametrize("path", APP, ids=lambda path: path.name)
def test_the_service_imports_nothing_of_ours(path: Path) -> None:
    assert "tracekit" not in {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", [*MODULES, *COMMANDS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_of_ours_imports_the_service(path: Path) -> None:
    assert "app" not in {name.split(".")[0] for name in imports_of(path)}


def test_the_middleware_needs_the_standard_library_alone() -> None:
    assert {name.split(".")[0] for name in imports_of(ROOT / "app" / "tracing.py")} <= sys.stdlib_module_names
