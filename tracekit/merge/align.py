"""Stamps corrected to the clock of one node, with the originals kept beside them.

All stamps of a line move by the same whole ms, so that its durations stay true of them; <stamp>_orig is what
it was. Other members stay byte for byte.
"""

from typing import Any

import msgspec

from tracekit.files.reading import Batch
from tracekit.merge.clock import Fit
from tracekit.merge.lines import NULL

STAMPS = ("ts_ms", "ts", "ts_enqueue", "ts_start", "ts_end", "from_ms", "to_ms")
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def aligned(batch: Batch[Any], keys: list[int], offset: Fit) -> tuple[list[int], list[bytes]]:
    """The keys and lines of a batch, less the offset of their clock at that time."""
    times = [key if key < NULL else key - NULL for key in keys]
    shifts = [round(offset.offset_at(ts_ms)) for ts_ms in times]
    lines = [_shifted(line, shift) for line, shift in zip(batch.lines, shifts, strict=True)]
    return [key - shift for key, shift in zip(keys, shifts, strict=True)], lines


def _shifted(line: bytes, shift_ms: int) -> bytes:
    members = _DECODER.decode(line)
    for name in STAMPS:
        told = members.get(name)
        if told is not None and told != b"null":
            members[f"{name}_orig"] = told
            members[name] = msgspec.Raw(b"%d" % (int(bytes(told)) - shift_ms))
    return _ENCODER.encode(members)
