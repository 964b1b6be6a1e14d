"""Container engines: which id belongs to a name. No more is asked of them; the kernel tells the rest."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from threading import Thread

from tracekit.collect.child import dying_with_us, wait_for_end

ENGINES = ("docker", "podman")
ANSWER_S = 5.0
FULL_ID = re.compile(r"[0-9a-f]{64}")
_NOT_THERE = re.compile(r"no such (container|object)|no container with", re.IGNORECASE)


class Engines:
    """Asks docker, then podman, on a thread of its own: an engine may take seconds, and a tick may not."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """say: one message for people, for each engine that is there and cannot answer."""
        self._say = say
        self._complained: set[str] = set()
        self._asking: Thread | None = None
        self._answer: str | None = None

    def __call__(self, container: str) -> str | None:
        """The full id, as far as it is known by now; None where no engine knows it, or none has answered yet.

        Each call that finds no question open asks a new one; the next call brings its answer."""
        if FULL_ID.fullmatch(container):
            return container
        if self._asking is None or not self._asking.is_alive():
            self._asking = Thread(target=self._ask, args=(container,), daemon=True)
            self._asking.start()
        return self._answer

    def _ask(self, container: str) -> None:
        found = (self._inspect(engine, container) for engine in ENGINES)
        self._answer = next((one for one in found if one), None)

    def _inspect(self, engine: str, container: str) -> str | None:
        if shutil.which(engine) is None:
            return None
        question = ["inspect", "--type", "container", "--format", "{{.Id}}", container]
        try:
            text = _output_of([*dying_with_us(), engine, *question])
        except OSError as error:
            text = str(error.strerror)
        lines = text.splitlines() or ["no answer"]
        found = next((line for line in lines if FULL_ID.fullmatch(line)), None)
        if found is None and not _NOT_THERE.search(text) and engine not in self._complained:
            self._complained.add(engine)
            self._say(f"{engine} does not tell of container {container}: {lines[-1][:200]}")
        return found


def _output_of(command: list[str]) -> str:
    """What the command says, on stdout and stderr; it is killed where it takes longer than ANSWER_S."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        if wait_for_end(process, ANSWER_S) is None:
            process.kill()
            return f"no answer within {ANSWER_S:.0f} s"
        os.set_blocking(process.stdout.fileno(), False)  # what it left behind may hold the pipe open
        return (process.stdout.read() or b"").decode("utf-8", "replace")
