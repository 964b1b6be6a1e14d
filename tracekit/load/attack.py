"""An attack: targets to `vegeta attack`, its results through `vegeta encode` to events_client.jsonl.

Open loop: vegeta sends at the rate, whether or not answers have come. Lines are written as they come,
so that an attack that is broken off leaves what it measured.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

from tracekit import ROOT, jsonl
from tracekit.collect.appender import open_raw, write_all
from tracekit.errors import TracekitError
from tracekit.load.results import Tally, client_event, decode
from tracekit.load.targets import target_lines

_FLUSH_BYTES = 1 << 16
TIMEOUT_S = 30


def vegeta() -> str:
    """The program, on the PATH or in .venv. Raises TracekitError where it is neither."""
    found = shutil.which("vegeta") or shutil.which("vegeta", path=str(ROOT / ".venv" / "bin"))
    if not found:
        raise TracekitError("vegeta is not there: `tools/setup.sh vegeta` installs it")
    return found


def attack(base: str, kinds: tuple[str, ...], rate: int, seconds: float, out: Path, node: str) -> Tally:
    """Send rate requests a second for so long, and append an event for each to out.

    Raises TracekitError where vegeta fails or out cannot be written."""
    sender = subprocess.Popen(
        [
            *(vegeta(), "attack", "-format=json", "-lazy", f"-rate={rate}/1s", f"-duration={seconds}s"),
            *(f"-timeout={TIMEOUT_S}s", "-redirects=-1", "-http2=false"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    encoder = subprocess.Popen([vegeta(), "encode", "-to=json"], stdin=sender.stdout, stdout=subprocess.PIPE)
    assert sender.stdin and sender.stdout and encoder.stdout
    sender.stdout.close()  # the encoder has it
    feeder = Thread(target=_feed, args=(sender.stdin, target_lines(base, kinds)), daemon=True)
    feeder.start()
    try:
        tally = _take(encoder.stdout, out, node)
    except BaseException:
        sender.kill()
        encoder.kill()
        raise
    finally:
        codes = sender.wait(), encoder.wait()
        feeder.join()
    if any(codes):
        raise TracekitError(f"vegeta ended with {codes[0] or codes[1]}; what it said stands above")
    return tally


def _feed(pipe: IO[bytes], lines: Iterator[bytes]) -> None:
    with suppress(BrokenPipeError), pipe:  # it breaks when vegeta has sent what it was told to
        for line in lines:
            pipe.write(line)


def _take(lines: IO[bytes], out: Path, node: str) -> Tally:
    tally, pending = Tally(), bytearray()
    descriptor = open_raw(out)
    try:
        for line in lines:
            event = client_event(decode(line), node)
            tally.add(event)
            pending += jsonl.encode(event)
            if len(pending) >= _FLUSH_BYTES:
                write_all(descriptor, bytes(pending))
                pending.clear()
        write_all(descriptor, bytes(pending))
    except OSError as error:
        raise TracekitError(f"{out}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return tally
