"""The account of an export: what was taken, and each thing that was not, or not as it was recorded.

refused: records that belong into the target and cannot be said in it. left_out: records that the target has
no place for. imputed: values that the trace does not have, put in because the user asked for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

FIRST = 5


@dataclass
class Group:
    """How many of a kind, and the first of them by name."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, which: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < FIRST:
            self.first.append(which)


@dataclass
class Audit:
    """counted: amounts, each named with its unit. notes: what a user of the files must know of them."""

    counted: dict[str, int | float] = field(default_factory=dict)
    refused: dict[str, Group] = field(default_factory=dict)
    imputed: dict[str, Group] = field(default_factory=dict)
    left_out: dict[str, Group] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, amount: float = 1) -> None:
        """Add to an amount; 0 makes it known that it is 0."""
        self.counted[what] = self.counted.get(what, 0) + amount

    def refuse(self, why: str, which: str) -> None:
        """A record that could not be taken."""
        self.refused.setdefault(why, Group()).add(which)

    def impute(self, what: str, which: str) -> None:
        """A value that was put in."""
        self.imputed.setdefault(what, Group()).add(which)

    def leave_out(self, why: str, which: str) -> None:
        """A record that the target has no place for."""
        self.left_out.setdefault(why, Group()).add(which)

    def note(self, text: str) -> None:
        """Something to know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def as_document(self) -> dict[str, object]:
        """For audit.json."""
        groups = {
            name: {kind: {"count": one.count, "first": one.first} for kind, one in group.items()}
            for name, group in self._groups()
        }
        counted = {what: round(amount, 6) for what, amount in self.counted.items()}
        return {"counted": counted, **groups, "notes": self.notes}

    def lines(self) -> Iterator[str]:
        """For the terminal."""
        for what, amount in self.counted.items():
            yield f"{'counted':<9} {amount:>12.12g}  {what}"
        for name, group in self._groups():
            for kind, one in group.items():
                yield f"{name.replace('_', ' '):<9} {one.count:>12}  {kind}, first {one.first[0]}"
        for text in self.notes:
            yield f"note      {text}"

    def _groups(self) -> tuple[tuple[str, dict[str, Group]], ...]:
        return ("refused", self.refused), ("imputed", self.imputed), ("left_out", self.left_out)
