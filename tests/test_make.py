"""The Makefile's promises: bare make changes nothing, and hostile values are refused before anything."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Checkout, copy_checkout

PHONY = re.findall(r"^\.PHONY: ([a-z -]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
TARGETS = " ".join(PHONY).split()
HOSTILE = [
    "../x",
    "a;b",
    "$(touch canary)",
    "$(shell touch canary)",
    "",
    "a" * 300,
    "a b",
    "-rf",
    "a\nb",
    "`id`",
]
HOSTILE_OTHERS = {
    "NODE_ID": "$(shell touch canary)",
    "STAGE": "x;touch canary",
    "VM_IP": "$(shell touch canary)",
    "IFACE": "eth0;touch canary",
    "CONTAINER": "$(touch canary)",
    "PROC_MATCH": "($(shell touch canary)",
    "PROC_SAMPLING": "$(shell touch canary)",
    "PROC_REFRESH": "`touch canary`",
    "PROC_INTERVAL_MS": "1000;touch canary",
    "HOST_EXTRAS": "$(touch canary)",
    "SOURCE": "../adapters/$(touch canary)",
    "TAG": "../x",
    "BW_BPS": "$(shell touch canary)",
    "SCEN": "../cloud",
    "PORT": "8080;touch canary",
    "WORKERS": "$(touch canary)",
    "DEFAULT_NEXT_URL": "file:///etc/passwd",
    "APP_ID": "a b",
    "MODULE_ID": "`touch canary`",
    "IMG": "--privileged",
    "BASE": "x y",
    "RATE": "$(shell touch canary)",
    "DURATION": "1;touch canary",
    "OPENDC": "$(touch canary)",
    "TASKS": "`touch canary`",
    "CPU_MHZ": "2400;touch canary",
    "TRACE": "$(shell touch canary)",
    "IMPUTE": "yes",
    "CORES": "$(touch canary)",
    "NODES": "vm1=$(touch canary)",
    "SLOTS": "`touch canary`",
    "POLICY": "$(shell touch canary)",
    "DEMAND": "x y",
    "TRAIN": "a;touch canary",
    "FLOOR": "$(shell touch canary)",
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy in which each test must find the files that it began with."""
    copy = copy_checkout(tmp_path_factory.mktemp("hostile") / "kit")
    yield copy
    shutil.rmtree(copy.root)


def files_of(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "__pycache__" not in path.parts}


def assert_refused(copy: Checkout, before: set[Path], *words: str, **env: str) -> None:
    done = copy.make(*words, **env)
    ours = [line for line in done.stderr.splitlines() if line.startswith("settings: ")]
    assert done.returncode == 2, done.stderr
    assert len(ours) == 1, done.stderr
    assert files_of(copy.root) == before


def test_bare_make_prints_help_and_changes_nothing(untouched: Checkout) -> None:
    before = files_of(untouched.root)
    done = untouched.make()
    assert done.returncode == 0
    for target in TARGETS:
        assert target == "check" or f"make {target} " in done.stdout
    assert files_of(untouched.root) == before


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_refuses_a_hostile_run_id(untouched: Checkout, target: str) -> None:
    before = files_of(untouched.root)
    for value in ("$(shell touch canary)", ""):
        assert_refused(untouched, before, target, f"RUN_ID={value}")
        assert_refused(untouched, before, target, RUN_ID=value)


@pytest.mark.parametrize("value", HOSTILE)
def test_every_hostile_run_id_is_refused_before_anything_is_done(untouched: Checkout, value: str) -> None:
    before = files_of(untouched.root)
    assert_refused(untouched, before, "start-collect", f"RUN_ID={value}")
    assert_refused(untouched, before, "start-collect", RUN_ID=value)


@pytest.mark.parametrize("name", HOSTILE_OTHERS)
def test_every_other_variable_is_as_literal(untouched: Checkout, name: str) -> None:
    before = files_of(untouched.root)
    value = HOSTILE_OTHERS[name]
    assert_refused(untouched, before, "start-collect", "RUN_ID=r1", f"{name}={value}")
    assert_refused(untouched, before, "start-collect", "RUN_ID=r1", **{name: value})


def test_a_dry_run_refuses_too(untouched: Checkout) -> None:
    assert_refused(untouched, files_of(untouched.root), "-n", "clean", "RUN_ID=$(shell touch canary)")


def test_a_harmless_regular_expression_with_dollars_stays_as_typed(untouched: Checkout) -> None:
    (untouched.root / "run_id.env").write_text("")
    done = untouched.make("help", "PROC_MATCH=^(a|b)$")
    assert done.returncode == 0, done.stderr


def test_clean_needs_a_named_run(untouched: Checkout) -> None:
    run = untouched.logs("keep")
    run.mkdir(parents=True)
    (untouched.root / "run_id.env").write_text("RUN_ID=keep\n")
    done = untouched.make("clean")
    (untouched.root / "run_id.env").unlink()
    assert done.returncode == 2
    assert "give RUN_ID=" in done.stderr
    assert run.is_dir()


def test_clean_removes_one_run_and_no_other(untouched: Checkout) -> None:
    for name in ("one", "other"):
        untouched.logs(name).mkdir(parents=True)
    assert untouched.make("clean", "RUN_ID=one").returncode == 0
    assert not untouched.logs("one").exists()
    assert untouched.logs("other").is_dir()
