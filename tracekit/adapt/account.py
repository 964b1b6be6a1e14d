"""The account of an adapter's input: every line is taken, skipped for a reason, or rejected for one."""

from collections import Counter


class NotTakenError(Exception):
    """A line or a record that cannot become an invocation: a reject.

    reason: a short word that is counted; detail: what is wrong, for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class SkippedError(NotTakenError):
    """Well formed, and known not to be an invocation: a header, a step of a job, a caller's span."""


class Account:
    """entries: lines, or records where a line holds several; = taken + rejected + skipped."""

    def __init__(self) -> None:
        self.taken = 0
        self.rejected: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    @property
    def entries(self) -> int:
        """All that was met."""
        return self.taken + self.rejected.total() + self.skipped.total()
