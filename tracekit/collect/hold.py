"""The lock of a live run, held although a cleaner of temporary files may remove the file it is on."""

import os

from tracekit.errors import TracekitError
from tracekit.runs import Run, make_state
from tracekit.tasks import spool_of


class Hold:
    """The recorder's claim to its run: without it a stop would not find the run, and a start double it."""

    def __init__(self, run: Run) -> None:
        """Raises TracekitError where another process holds the run."""
        self.run = run
        self.is_lost = False
        self._descriptor = run.hold()

    def keep(self) -> bool:
        """Take the lock anew where its file is gone; whether that was needed and could be done.

        Raises TracekitError where another recorder has taken the run meanwhile: it is lost."""
        if self._is_in_place():
            return False
        try:
            make_state(self.run)
            spool_of(self.run).mkdir(mode=0o700, exist_ok=True)
        except (TracekitError, OSError):  # no room, or another's folder: the next second may be better
            return False
        try:
            descriptor = self.run.hold()
        except OSError:
            return False
        except TracekitError:
            self.is_lost = True
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        return True

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat((self.run.state / "lock").lstat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False
