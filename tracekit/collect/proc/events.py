"""The kernel's word of each program that starts and each thread that ends: the process connector.

A command line can only be read while its process lives, so a task of 50 ms that is meant by its command
line must be looked at when it starts. When a process ended is in no exit record, but in its event here, so
nobody need wake to see it end. Listening needs root (CAP_NET_ADMIN) in the first pid namespace.
Source: linux/cn_proc.h, linux/connector.h, linux/filter.h; Documentation/driver-api/connector.rst.
"""

import ctypes
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_PROC_CN_MCAST_LISTEN = 1
_EXEC, _EXIT = 2, 0x8000_0000  # proc_cn_event
_NLMSG_DONE = 3
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_RECEIVE_BYTES = 8 << 20  # some 10,000 events between two readings
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_MESSAGE = struct.Struct("=IIIIHH")  # cn_msg: idx, val, seq, ack, len, flags
_EVENT = _HEADER.size + _MESSAGE.size  # where proc_event begins: what, cpu, time, then pid and tgid
_TIME_AND_TGID = struct.Struct("=Q 4x I")  # ns of CLOCK_MONOTONIC; of the thread that the event is about
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


class _Events:
    """A socket on which every event of one kind arrives. Raises OSError where that is not to be had."""

    def __init__(self, what: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR
        )
        try:
            self._attach_filter(what)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
            self._socket.bind((0, _CN_IDX_PROC))
            listen = struct.pack("=I", _PROC_CN_MCAST_LISTEN)
            message = _MESSAGE.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(listen), 0) + listen
            header = _HEADER.pack(_HEADER.size + len(message), _NLMSG_DONE, 0, 0, os.getpid())
            self._socket.send(header + message)
            self._socket.setblocking(False)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        except OSError:
            self._socket.close()
            raise

    def _attach_filter(self, what: int) -> None:
        """Let the kernel drop all other events."""
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (_LOAD_WORD, 0, 0, _EVENT),
                (_JUMP_IF_EQUAL, 0, 1, socket.htonl(what)),
                (_RETURN, 0, 0, 0xFFFF),
                (_RETURN, 0, 0, 0),
            )
        )
        kept = ctypes.create_string_buffer(program)
        size = struct.calcsize("HBBI")
        self._socket.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(program) // size, ctypes.addressof(kept)),
        )

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def is_empty(self) -> bool:
        """Whether nothing has come."""
        return not self._poll.poll(0)

    def _read(self) -> Iterator[tuple[int, int]]:
        """(ns of CLOCK_MONOTONIC, process) of what has happened since the last time.

        What the kernel had to drop is missing."""
        while True:
            try:
                event = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS
                continue
            yield _TIME_AND_TGID.unpack_from(event, _EVENT + 8)


class ExecListener(_Events):
    """Programs that start."""

    def __init__(self) -> None:
        super().__init__(_EXEC)

    def read(self) -> set[int]:
        """The processes that have started a program since the last time.

        One that the kernel had to drop is found by the next look at /proc, if it still lives."""
        return {pid for _, pid in self._read()}


class EndTimes(_Events):
    """When processes ended."""

    def __init__(self) -> None:
        super().__init__(_EXIT)

    def read(self) -> dict[int, int]:
        """The processes of which a thread has ended since the last time, and when its last one did.

        In ms of boot time. An event follows the thread's exit record, when it is torn down."""
        asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        return {pid: (when_ns + asleep_ns) // 1_000_000 for when_ns, pid in self._read()}
