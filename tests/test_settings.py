"""The variables: one table, one order, and nothing but what is allowed."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit.settings import SETTINGS, resolve

NAMES = {setting.name for setting in SETTINGS}
NO_FILE = Path("/nonexistent/run_id.env")


def test_makefile_makes_every_variable_literal() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    found = re.search(r"^VARIABLES := (.*)$", makefile, re.MULTILINE)
    assert found is not None
    assert set(found.group(1).split()) == NAMES


def test_example_file_shows_every_variable_with_its_default() -> None:
    lines = (ROOT / "run_id.env.example").read_text().splitlines()
    shown = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    assert set(shown) == NAMES
    for setting in SETTINGS:
        if setting.default:
            assert shown[setting.name] == setting.default


def test_environment_comes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run_id.env"
    file.write_text("# mine\nexport NODE_ID=from-file\nSTAGE='edge'\nRUN_ID=r1\n")
    settings = resolve({"NODE_ID": "from-env"}, file)
    assert settings["NODE_ID"] == "from-env"
    assert settings["STAGE"] == "edge"
    assert settings["PROC_SAMPLING"] == "1"
    assert set(settings.given) == {"NODE_ID", "STAGE", "RUN_ID"}


def test_an_empty_pattern_given_hides_the_one_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run_id.env"
    file.write_text("PROC_MATCH=python\n")
    assert resolve({"PROC_MATCH": ""}, file)["PROC_MATCH"] == ""


@pytest.mark.parametrize("line", ["RUN_ID", "NO_SUCH=1", "echo hello", "RUN_ID x=1"])
def test_a_line_of_the_file_that_is_no_setting_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "run_id.env"
    file.write_text(f"# first\n{line}\n")
    with pytest.raises(UsageError, match=r"run_id\.env:2: (wanted NAME=value|'.*' is none of RUN_ID, )"):
        resolve({}, file)


def test_nothing_in_the_file_is_expanded(tmp_path: Path) -> None:
    file = tmp_path / "run_id.env"
    file.write_text("PROC_MATCH=$(touch x)|`id`|$HOME\n")
    assert resolve({}, file)["PROC_MATCH"] == "$(touch x)|`id`|$HOME"


@pytest.mark.parametrize("name", ["RUN_ID", "NODE_ID", "STAGE", "PROC_SAMPLING", "PROC_INTERVAL_MS"])
def test_given_but_empty_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is given but empty"):
        resolve({name: ""}, NO_FILE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROC_MATCH", "("),
        ("PROC_SAMPLING", "yes"),
        ("PROC_REFRESH", "2"),
        ("HOST_EXTRAS", "yes"),
        ("PROC_INTERVAL_MS", "49"),
        ("PROC_INTERVAL_MS", "1e3"),
        ("PROC_INTERVAL_MS", "\u0661\u0660\u0660\u0660"),  # digits, but not ASCII ones
        ("VM_IP", "10.0.0"),
        ("VM_IP", "-f 10.0.0.1"),
        ("IFACE", "../etc"),
        ("IFACE", "a" * 16),
        ("CONTAINER", "--privileged"),
        ("BW_BPS", "-1"),
        ("NODE_ID", "a b"),
        ("STAGE", "cloud\n"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("DURATION", "0"),
        ("DURATION", "1m"),
        ("DEFAULT_NEXT_URL", "gopher://10.0.0.1"),
        ("DEFAULT_NEXT_URL", "http://"),
        ("DEFAULT_NEXT_URL", "http://10.0.0.1/path"),
        ("DEFAULT_NEXT_URL", "http://user@10.0.0.1"),
        ("DEFAULT_NEXT_URL", "http://10.0.0.1:8080?x=1"),
        ("DEFAULT_NEXT_URL", "http://10.0.0.1:99999"),
        ("SCEN", "../cloud"),
        ("SCEN", "no-such"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}="):
        resolve({name: value}, NO_FILE)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_only_names_of_the_contract_pass_as_run_id(text: str) -> None:
    try:
        settings = resolve({"RUN_ID": text}, NO_FILE)
    except UsageError as error:
        assert "\n" not in str(error)
        assert not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text)
    else:
        assert settings["RUN_ID"] == text
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text)


def test_a_scenario_comes_after_the_file_and_before_the_default(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "edge.env").write_text("STAGE=edge\nWORKERS=2\nPORT=81\n")
    (tmp_path / "run_id.env").write_text("WORKERS=3\n")
    settings = resolve({"SCEN": "edge", "PORT": "82"}, tmp_path / "run_id.env")
    assert (settings["STAGE"], settings["WORKERS"], settings["PORT"]) == ("edge", "3", "82")
    assert settings.given["STAGE"] == "scenarios/edge.env"


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.env")), ids=lambda path: path.stem)
def test_every_scenario_that_is_shipped_can_be_read(path: Path) -> None:
    settings = resolve({"SCEN": path.stem}, ROOT / "run_id.env.example")
    assert settings["STAGE"] == path.stem
