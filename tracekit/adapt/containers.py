"""What a container engine puts around the lines of a program: CRI's prefix, Docker's json-file.

The times there are those of writing, not of the event, and are not used.
Source: Kubernetes CRI logging format; Docker json-file driver.
"""

import re

from tracekit.adapt.values import json_object

_CRI = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) std(?:out|err) ([FP])(?::\S*)? ?", re.DOTALL)


class Unwrapper:
    """Takes the prefix off; joins a long line that was written in parts."""

    def __init__(self) -> None:
        self._part = b""

    def rest(self) -> bytes:
        """What is left of a line whose other parts did not come."""
        return self._part

    def unwrap(self, line: bytes) -> bytes | None:
        """The program's own line; None where more of it follows. Raises NotTakenError."""
        cri = _CRI.match(line)
        if cri:
            text, is_whole = line[cri.end() :], cri[1] == b"F"
        elif line.startswith(b'{"log":'):
            log = str(json_object(line).get("log")).encode()
            text, is_whole = log.removesuffix(b"\n"), log.endswith(b"\n")
        else:
            return line
        whole, self._part = self._part + text, b""
        if is_whole:
            return whole
        self._part = whole
        return None
