"""The kernel's own account of each task that ends: taskstats exit records over netlink.

A record comes for every thread that ends on the host, with its CPU time in microseconds. Listening needs
root (CAP_NET_ADMIN) in the first pid namespace, for the records name pids of that one; ac_tgid, which
tells a thread's process, came with version 12 of the record (Linux 5.19).
Source: Documentation/accounting/taskstats.rst, linux/taskstats.h, linux/acct.h, linux/genetlink.h.
"""

import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NETLINK_GENERIC, _GENL_CONTROLLER = 16, 16
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_GET, _REGISTER_CPUMASK = 1, 3
_AGGR_PID, _STATS = 4, 3
_REQUEST, _ACK, _ERROR = 1, 4, 2
_REQUEST_NUMBER = 0x7472  # a record that nobody asked for has 0
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 8 << 20  # some 13,000 records between two readings
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_GENERIC = struct.Struct("=BBH")  # genlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_OLDEST = 12
_AGROUP = 0x20  # ac_flag: the last task of its process
# Of struct taskstats, which only grows at its end: ac_exitcode, ac_flag, cpu_run_virtual_total, ac_comm;
# ac_pid, ac_ppid; ac_utime, ac_stime; hiwater_rss; ac_tgid; ac_tgetime.
_RECORD = struct.Struct("=4x IB 63x Q 32s 16x II 16x QQ 32x Q 160x I 4x Q")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO


class TaskExit(NamedTuple):
    """One thread that ended. Times in microseconds; is_last: with it the process ended.

    cpu_us is what the scheduler counted, exactly; user_us and system_us may be counted by clock ticks."""

    pid: int
    tgid: int
    ppid: int
    comm: bytes
    cpu_us: float
    user_us: int
    system_us: int
    peak_rss_kb: int
    wait_status: int
    is_last: bool
    process_elapsed_us: int


class ExitListener:
    """A socket on which every exit record of the host arrives. Raises OSError where that is not to be had."""

    def __init__(self) -> None:
        if str(Path("/proc/self/ns/pid").readlink()) != _FIRST_PID_NAMESPACE:
            raise PermissionError("not in the first pid namespace")
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC
        )
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
            family = self._family()
            cpus = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
            self._ask(family, _GET, _REGISTER_CPUMASK, cpus.encode() + b"\0")
            self._socket.setblocking(False)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
            self._buffer = memoryview(bytearray(1 << 16))  # of its own: most readings find nothing
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def is_empty(self) -> bool:
        """Whether nothing has come, and nothing was dropped."""
        return not self._poll.poll(0)

    def _family(self) -> int:
        reply = self._ask(_GENL_CONTROLLER, _GET_FAMILY, _FAMILY_NAME, b"TASKSTATS\0")
        for kind, start, _ in _attributes(reply, _HEADER.size + _GENERIC.size, len(reply)):
            if kind == _FAMILY_ID:
                return int(struct.unpack_from("=H", reply, start)[0])
        raise OSError("this kernel has no taskstats")

    def _ask(self, family: int, command: int, kind: int, value: bytes) -> bytes:
        """Send a request with one attribute; the answer, once the kernel has taken it."""
        padded = value + b"\0" * (-len(value) % 4)
        body = _GENERIC.pack(command, 1, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + padded
        length, flags = _HEADER.size + len(body), _REQUEST | _ACK
        self._socket.send(_HEADER.pack(length, family, flags, _REQUEST_NUMBER, 0) + body)
        answer = b""
        while True:
            message = self._socket.recv(1 << 16)
            _, what, _, number, _ = _HEADER.unpack_from(message)
            if number != _REQUEST_NUMBER:
                continue  # the record of a task that ends meanwhile
            if what != _ERROR:
                answer = message  # the acknowledgement follows
                continue
            code = struct.unpack_from("=i", message, _HEADER.size)[0]
            if code:
                raise OSError(-code, os.strerror(-code))
            return answer or message

    def read(self) -> Iterator[TaskExit]:
        """The records that have arrived. Raises OSError (ENOBUFS) where the kernel had to drop some."""
        while True:
            try:
                length = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            yield from parse_message(bytes(self._buffer[:length]))


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start of the value, end of the value) of each netlink attribute."""
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            return
        yield kind, start + _ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


def parse_message(message: bytes) -> Iterator[TaskExit]:
    """The record of a thread in one netlink message; none where it is too old to name its process."""
    for kind, start, end in _attributes(message, _HEADER.size + _GENERIC.size, len(message)):
        if kind == _AGGR_PID:
            for inner, at, _ in _attributes(message, start, end):
                if inner == _STATS and struct.unpack_from("=H", message, at)[0] >= _OLDEST:
                    yield _task_exit(message, at)


def _task_exit(data: bytes, at: int) -> TaskExit:
    status, flag, run_ns, comm, pid, ppid, user_us, system_us, rss_kb, tgid, elapsed_us = _RECORD.unpack_from(
        data, at
    )
    return TaskExit(
        pid=pid,
        tgid=tgid,
        ppid=ppid,
        comm=comm.split(b"\0", 1)[0],
        cpu_us=run_ns / 1000 or user_us + system_us,  # 0 where the kernel keeps no scheduler statistics
        user_us=user_us,
        system_us=system_us,
        peak_rss_kb=rss_kb,
        wait_status=status,
        is_last=bool(flag & _AGROUP),
        process_elapsed_us=elapsed_us,
    )
