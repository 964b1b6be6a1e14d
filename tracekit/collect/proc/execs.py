"""The kernel's word of each program that is started: exec events of the process connector.

A command line can only be read while its process lives, so a task of 50 ms that is meant by its command
line must be looked at when it starts. Listening needs root (CAP_NET_ADMIN) in the first pid namespace.
Source: linux/cn_proc.h, linux/connector.h, linux/filter.h; Documentation/driver-api/connector.rst.
"""

import ctypes
import os
import socket
import struct

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_PROC_CN_MCAST_LISTEN = 1
_PROC_EVENT_EXEC = 2
_NLMSG_DONE = 3
_SO_ATTACH_FILTER = 26
_RECEIVE_BYTES = 1 << 20
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_MESSAGE = struct.Struct("=IIIIHH")  # cn_msg: idx, val, seq, ack, len, flags
_EVENT = _HEADER.size + _MESSAGE.size  # where proc_event begins: what, cpu, time, then pid and tgid
_TGID = _EVENT + 20
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


class ExecListener:
    """A socket on which every exec of the host arrives. Raises OSError where that is not to be had."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR
        )
        try:
            self._attach_filter()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            self._socket.bind((0, _CN_IDX_PROC))
            listen = struct.pack("=I", _PROC_CN_MCAST_LISTEN)
            message = _MESSAGE.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(listen), 0) + listen
            header = _HEADER.pack(_HEADER.size + len(message), _NLMSG_DONE, 0, 0, os.getpid())
            self._socket.send(header + message)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def _attach_filter(self) -> None:
        """Let the kernel drop all but exec events: forks and exits of threads are many."""
        program = b"".join(
            struct.pack("=HBBI", *instruction)
            for instruction in (
                (_LOAD_WORD, 0, 0, _EVENT),
                (_JUMP_IF_EQUAL, 0, 1, socket.htonl(_PROC_EVENT_EXEC)),
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

    def read(self) -> set[int]:
        """The processes that have started a program since the last time.

        One that the kernel had to drop is found by the next look at /proc, if it still lives."""
        pids: set[int] = set()
        while True:
            try:
                event = self._socket.recv(4096)
            except BlockingIOError:
                return pids
            except OSError:  # ENOBUFS
                continue
            pids.add(struct.unpack_from("=I", event, _TGID)[0])
