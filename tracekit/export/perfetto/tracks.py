"""One trace file of Perfetto, written packet by packet: tracks, counters, slices and instants.

Stamps are ns of the wall clock (REALTIME), which the first packet makes the clock of the file.
Source: Perfetto, docs/reference/synthetic-track-event and protos/perfetto/trace/track_event.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tracekit.errors import TracekitError

_LIMIT = 2**31 - 1  # of a member of a plain ZIP; the UI opens no larger trace either
_SEQUENCE = 1  # of packets; a file has one writer
_PACKET = b"\x0a"  # field 1 of a Trace, with a length: so a file is one Trace, packet by packet
Arguments = Mapping[str, str | int | float | None]


class TrackFile:
    """A file to write; close it. Tracks are numbered as they are made: the same calls give the same bytes."""

    def __init__(self, path: Path, first_ns: int) -> None:
        """first_ns: a moment that the file's clock showed."""
        self._path, self._last, self._size = path, 0, 0
        self._stream = path.open("wb")
        packet = self._packet()
        packet.clock_snapshot.primary_trace_clock = pb.BUILTIN_CLOCK_REALTIME
        packet.clock_snapshot.clocks.add(clock_id=pb.BUILTIN_CLOCK_REALTIME, timestamp=first_ns)
        self._write(packet)

    def close(self) -> None:
        """The file is whole."""
        self._stream.close()

    def track(self, name: str, parent: int = 0, unit: str | None = None) -> int:
        """A track, below parent where one is given; with a unit, a counter."""
        packet, number = self._descriptor(parent)
        packet.track_descriptor.name = name
        if unit is not None:
            packet.track_descriptor.counter.unit_name = unit
        self._write(packet)
        return number

    def process(self, pid: int, name: str, command: str | None) -> int:
        """The track of a process; another process with the same pid has another track."""
        packet, number = self._descriptor(0)
        packet.track_descriptor.process.pid = pid
        packet.track_descriptor.process.process_name = name
        if command:
            packet.track_descriptor.process.cmdline.append(command)
        self._write(packet)
        return number

    def count(self, track: int, ts_ns: int, value: float) -> None:
        """The value of a counter from ts_ns on, until its next one."""
        packet = self._event(track, ts_ns, pb.TrackEvent.TYPE_COUNTER)
        packet.track_event.double_counter_value = value
        self._write(packet)

    def begin(
        self,
        track: int,
        ts_ns: int,
        name: str,
        category: str,
        arguments: Arguments,
        flows: Sequence[int] = (),
    ) -> None:
        """Begin a slice; slices of a track nest. flows: each leads from one slice to the next that has it."""
        packet = self._named(track, ts_ns, pb.TrackEvent.TYPE_SLICE_BEGIN, name, category, arguments)
        packet.track_event.flow_ids.extend(flows)
        self._write(packet)

    def end(self, track: int, ts_ns: int) -> None:
        """End the slice of the track that began last."""
        self._write(self._event(track, ts_ns, pb.TrackEvent.TYPE_SLICE_END))

    def instant(self, track: int, ts_ns: int, name: str, category: str, arguments: Arguments) -> None:
        """Something that has no length."""
        self._write(self._named(track, ts_ns, pb.TrackEvent.TYPE_INSTANT, name, category, arguments))

    def _packet(self) -> Any:
        return pb.TracePacket(trusted_packet_sequence_id=_SEQUENCE)

    def _descriptor(self, parent: int) -> tuple[Any, int]:
        packet = self._packet()
        self._last += 1
        packet.track_descriptor.uuid = self._last
        if parent:
            packet.track_descriptor.parent_uuid = parent
        return packet, self._last

    def _event(self, track: int, ts_ns: int, kind: int) -> Any:
        packet = self._packet()
        packet.timestamp = ts_ns
        packet.timestamp_clock_id = pb.BUILTIN_CLOCK_REALTIME
        packet.track_event.type = kind
        packet.track_event.track_uuid = track
        return packet

    def _named(
        self, track: int, ts_ns: int, kind: int, name: str, category: str, arguments: Arguments
    ) -> Any:
        packet = self._event(track, ts_ns, kind)
        packet.track_event.name = name
        packet.track_event.categories.append(category)
        for key, value in arguments.items():
            if value is not None:
                _annotate(packet.track_event.debug_annotations.add(), key, value)
        return packet

    def _write(self, packet: Any) -> None:
        data = packet.SerializeToString()
        head = _PACKET + _varint(len(data))
        self._stream.write(head + data)
        self._size += len(head) + len(data)
        if self._size > _LIMIT:
            raise TracekitError(
                f"{self._path.name} passes 2 GiB, which no reader opens: export a shorter run"
            )


def _varint(value: int) -> bytes:
    """A number in groups of 7 bits, the least first. Source: Protocol Buffers, encoding."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _annotate(annotation: Any, key: str, value: str | int | float) -> None:
    annotation.name = key
    if isinstance(value, int):
        annotation.int_value = value
    elif isinstance(value, float):
        annotation.double_value = value
    else:
        annotation.string_value = value
