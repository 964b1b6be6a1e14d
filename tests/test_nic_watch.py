"""What the recorder tells of the primary NIC, from a made /sys/class/net."""

from pathlib import Path
from typing import Any

import pytest

from tracekit.collect.clock import Stamp
from tracekit.collect.nic import NicWatch

T0 = 1_700_000_000_000


class Machine:
    """A made /sys/class/net, the watch of eth0, and the second that it is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._second = 0
        self.marks: list[dict[str, Any]] = []
        self.has(eth0=(2, "up"))
        self.watch = NicWatch("eth0", self._mark, str(root))

    def _mark(self, collector: str, kind: str, **more: Any) -> None:
        assert collector == "nic"
        spans = {name: more.pop(name) - T0 for name in ("from_ms", "to_ms") if name in more}
        self.marks.append({"kind": kind, **spans, **more})

    def has(self, **nics: tuple[int, str]) -> None:
        """From now on there are these NICs: ifindex and operstate."""
        for path in self._root.iterdir():
            for name in ("ifindex", "operstate"):
                (path / name).unlink()
            path.rmdir()
        for name, (ifindex, operstate) in nics.items():
            (self._root / name).mkdir()
            (self._root / name / "ifindex").write_text(f"{ifindex}\n")
            (self._root / name / "operstate").write_text(f"{operstate}\n")

    def look(self) -> list[dict[str, Any]]:
        """The marks of the next second's look."""
        told = len(self.marks)
        self.watch.look(Stamp(T0 + self._second * 1000, self._second * 1000))
        self._second += 1
        return self.marks[told:]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    assert made.look() == []
    return made


def test_a_nic_that_stays_as_it_is_makes_no_mark(machine: Machine) -> None:
    machine.has(eth0=(2, "unknown"), eth1=(3, "down"))
    assert machine.look() == []


@pytest.mark.parametrize("state", ["down", "lowerlayerdown", "dormant", "notpresent"])
def test_a_link_that_goes_down_and_up_has_a_mark_for_each(machine: Machine, state: str) -> None:
    machine.has(eth0=(2, state))
    assert machine.look() == [{"kind": "link_down", "from_ms": 0, "reason": state}]
    assert machine.look() == []
    machine.has(eth0=(2, "up"))
    assert machine.look() == [{"kind": "link_up", "from_ms": 0, "to_ms": 3000}]


def test_a_link_that_is_down_from_the_start_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has(eth0=(2, "down"))
    assert machine.look() == [{"kind": "link_down", "from_ms": 0, "reason": "down"}]


def test_a_renamed_nic_is_followed_to_its_name_and_back(machine: Machine) -> None:
    machine.has(lan0=(2, "up"))
    assert machine.look() == [
        {"kind": "renamed", "from_ms": 0, "detail": "eth0 (ifindex 2) is lan0 now"},
    ]
    assert machine.look() == []
    machine.has(eth0=(2, "up"))
    assert machine.look() == [
        {
            "kind": "back",
            "from_ms": 0,
            "to_ms": 3000,
            "reason": "renamed",
            "detail": "eth0 is the same NIC (ifindex 2)",
        }
    ]


def test_another_nic_that_comes_back_under_the_name_is_told_as_another(machine: Machine) -> None:
    machine.has()
    assert machine.look() == [
        {"kind": "gone", "from_ms": 0, "detail": "eth0 (ifindex 2) is no longer there"},
    ]
    machine.has(eth0=(9, "down"))
    back, down = machine.look()
    assert (back["kind"], back["reason"]) == ("back", "gone")
    assert back["detail"] == "eth0 is another NIC (ifindex 9, before 2), with counters of its own"
    assert down["kind"] == "link_down"


def test_a_nic_replaced_between_two_looks_is_gone_and_back(machine: Machine) -> None:
    machine.has(eth0=(9, "up"), lan0=(2, "up"))
    assert [mark["kind"] for mark in machine.look()] == ["renamed", "back"]
    assert machine.look() == []


def test_a_renamed_nic_that_is_then_deleted_is_gone(machine: Machine) -> None:
    machine.has(lan0=(2, "up"))
    machine.look()
    machine.has()
    assert [(mark["kind"], mark["from_ms"]) for mark in machine.look()] == [("gone", 1000)]


def test_a_link_that_was_down_when_it_went_is_not_up_when_another_comes(machine: Machine) -> None:
    machine.has(eth0=(2, "down"))
    machine.look()
    machine.has()
    machine.look()
    machine.has(eth0=(9, "up"))
    assert [mark["kind"] for mark in machine.look()] == ["back"]
