"""Trace and span ids: those that the source has, else made of the record itself, the same in every run."""

import os
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from tracekit.adapt.reading import STDIN, stem_of

_KEPT = 1 << 14  # equal lines are told apart at least so many lines of one file apart
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_HEX = re.compile(r"[0-9a-fA-F]+")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Ids:
    """Ids of the records of one input that brings none. Equal records get different ones, by their number."""

    def __init__(self, salt: str) -> None:
        """salt: tells inputs apart that may hold equal records."""
        self._salt = os.fsencode(salt) + b"\0"
        self._seen: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def make(self, text: bytes) -> str:
        """32 hex digits; a span id is the last 16 of them."""
        digest = blake2b(self._salt + text, digest_size=16).hexdigest()
        count = self._seen.get(digest) or self._before.get(digest) or 0
        if len(self._seen) >= _KEPT:
            self._before, self._seen = self._seen, {}
        self._seen[digest] = count + 1
        if count:
            digest = blake2b(f"{digest}{count}".encode(), digest_size=16).hexdigest()
        return digest


def hashed(*parts: object, digits: int = 16) -> str:
    """Hex digits of what names a record in its own system."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=digits // 2).hexdigest()


def salts(names: Sequence[str], node: str) -> dict[str, str]:
    """What tells inputs apart: a log's name without rotation, and which of the folders that have one."""
    folders: dict[str, list[Path]] = {}
    for name in names:
        if name != STDIN:
            folder = Path(name).resolve().parent
            known = folders.setdefault(stem_of(name), [])
            if folder not in known:
                known.append(folder)
    told = {}
    for name in names:
        stem = stem_of(name)
        order = sorted(folders[stem]).index(Path(name).resolve().parent) if name != STDIN else 0
        told[name] = f"{node}\0{stem}\0{order}"
    return told


def traceparent(text: str) -> tuple[str, str] | None:
    """(trace id, the caller's span id) of a traceparent header; None where it is none, or not valid.

    Source: W3C Trace Context, 3.2: a higher version may go on behind a "-"."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[4]):
        return None
    trace, span = match[2], match[3]
    return (trace, span) if trace.strip("0") and span.strip("0") else None


def padded(text: object, digits: int) -> str | None:
    """An id of the source as the trace has it: hex in lower case, short ones padded; others as they came.

    None where there is none, or it is all zero."""
    if not isinstance(text, str) or not text.strip("0"):
        return None
    if _HEX.fullmatch(text) and len(text) <= digits:
        return text.lower().rjust(digits, "0")
    return text if _ID.fullmatch(text) else hashed(text, digits=digits)
