"""What the README and the help say is what there is."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment

from tracekit import __version__
from tracekit.records import FILES
from tracekit.settings import SETTINGS

README = (ROOT / "README.md").read_text()
PHONY = re.findall(r"^\.PHONY: ([a-z -]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
TARGETS = " ".join(PHONY).split()
COMMANDS = sorted(path for path in (ROOT / "tools").iterdir() if path.suffix in (".py", ".sh"))
FOR_DEVELOPERS = {"lint.sh", "lock.sh", "write_schemas.py"}  # the README names their make targets
INNER = {"settings.py", "demo.py"}  # `make help` and `make demo` are their names


def test_first_commands_are_the_two() -> None:
    first = re.search(r"```bash\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first.group(1).splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "check"])
def test_every_target_is_in_the_readme(target: str) -> None:
    assert f"`make {target}`" in README


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_variable_is_in_the_readme_with_its_default(setting: object) -> None:
    name, default = setting.name, setting.default  # type: ignore[attr-defined]
    row = re.search(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)
    assert row is not None
    assert not default or row.group(1) == f"`{default}`"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.name)
def test_every_command_has_help_and_is_in_the_readme(command: Path) -> None:
    assert os.access(command, os.X_OK)
    done = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=False, env=clean_environment(), cwd="/"
    )
    if command.name in FOR_DEVELOPERS and command.suffix == ".sh":
        return  # they take no argument
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3
    assert command.name in FOR_DEVELOPERS | INNER or f"tools/{command.name}" in README


def test_tree_in_the_readme_names_every_file_that_this_release_writes() -> None:
    tree = README.split("```")[1::2]
    shown = next(block for block in tree if "logs/<RUN_ID>/" in block)
    for name in FILES:
        assert name in shown


def test_version_is_one() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
