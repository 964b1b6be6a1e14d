"""The errors that a command turns into one line on stderr and an exit code (0 is done).

Exit codes: 1 failed, 2 wrong usage, 3 done, but input was rejected.
"""

DONE, FAILED, USAGE, REJECTED = 0, 1, 2, 3


class TracekitError(Exception):
    """Something that the user must know; the message says what is wrong and what to do."""

    exit_code = FAILED


class UsageError(TracekitError):
    """The call itself is wrong: a bad value, a missing one, an unknown name."""

    exit_code = USAGE


class BadLineError(TracekitError):
    """One line of input that cannot be taken.

    reason: a short word counted in quality.json; detail: what is wrong, for a person.
    """

    def __init__(self, file: str, line: int, reason: str, detail: str) -> None:
        super().__init__(f"{file}:{line}: {detail}")
        self.file, self.line, self.reason, self.detail = file, line, reason, detail
