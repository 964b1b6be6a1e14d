"""Offset and delay between this VM's clock and those of its peers, by small UDP packets.

A request carries when it was sent (t1); the answer adds when the request came (t2) and when the answer went
(t3), by the peer's clock; t4 is when it is back. All four are recorded as they are, and whoever
merges the run finds offset, drift and delay in them. Only peers that are named are answered, with a packet no
longer than theirs, and only of the same run. Source of the scheme: RFC 5905, section 8.
"""

import hashlib
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from tracekit import jsonl
from tracekit.collect.clock import now
from tracekit.settings import NAME, Peer

EVERY_S = 0.5
_PACKET = struct.Struct("!4sBxxxI8sqqq64s")
_MAGIC, _REQUEST, _ANSWER = b"tkP1", 1, 2
Address = tuple[str, int]


class Packet(NamedTuple):
    """One packet. Times: us since the Unix epoch, by the clock of who wrote them; 0: not yet."""

    kind: int
    number: int
    run: bytes
    t1_us: int
    t2_us: int
    t3_us: int
    node: bytes

    def encode(self) -> bytes:
        return _PACKET.pack(_MAGIC, *self)


def decode(data: bytes) -> Packet | None:
    """The packet in data; None where it is none of ours."""
    if len(data) != _PACKET.size or not data.startswith(_MAGIC):
        return None
    _, *fields = _PACKET.unpack(data)
    return Packet(*fields)


def now_us() -> int:
    """The wall clock, us since the Unix epoch."""
    return time.time_ns() // 1000


class Prober:
    """Asks each peer twice a second, and answers them."""

    def __init__(
        self,
        who: tuple[str, str],
        peers: Sequence[Peer],
        port: int,
        write: Callable[[bytes], None],
        warn: Callable[[str], None],
    ) -> None:
        """who: run and node. port: ours, on the addresses from which the peers are reached. write: takes
        whole lines."""
        run_id, self._node = who
        self._port, self._write, self._warn = port, write, warn
        self._run = hashlib.sha256(run_id.encode()).digest()[:8]
        self._peers = {(peer.address, peer.port or port): peer for peer in peers}
        self._sockets: dict[str, socket.socket] = {}  # by the address of ours that it is bound to
        self._asked: dict[Address, tuple[int, int]] = {}  # number and t1 of the request that is under way
        self._number = 0
        self._rows: list[bytes] = []
        self._said: set[str] = set()

    def run(self, ending: int) -> None:
        """Until the descriptor ending can be read. Whatever comes, a line a round tells that we live."""
        next_s = time.monotonic()
        while True:
            self._ask()
            self._write(b"".join(self._rows) or b"\n")
            self._rows.clear()
            next_s = max(next_s + EVERY_S, time.monotonic())
            while (left_s := next_s - time.monotonic()) > 0:
                own = {one.fileno(): one for one in self._sockets.values()}
                ready, _, _ = select.select([ending, *own], [], [], left_s)
                if ending in ready:
                    self._write(b"".join(self._rows) or b"\n")
                    return
                for descriptor in ready:
                    self._receive(own[descriptor])

    def _ask(self) -> None:
        for address in self._peers:
            try:
                ours = self._socket_to(address)
                self._number = (self._number + 1) % 2**32
                t1_us = now_us()
                self._asked[address] = self._number, t1_us
                ours.sendto(self._packet(_REQUEST, self._number, t1_us).encode(), address)
            except OSError as error:
                self._say(f"{address[0]}: {error.strerror or error}")

    def _socket_to(self, address: Address) -> socket.socket:
        """Bound to the address of ours that a packet to the peer goes out from."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as route:
            route.connect(address)
            own = route.getsockname()[0]
        if own not in self._sockets:
            ours = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                ours.bind((own, self._port))
            except OSError:
                ours.close()
                raise
            self._sockets[own] = ours
        return self._sockets[own]

    def _packet(self, kind: int, number: int, t1_us: int, t2_us: int = 0) -> Packet:
        t3_us = now_us() if kind == _ANSWER else 0
        return Packet(kind, number, self._run, t1_us, t2_us, t3_us, self._node.encode())

    def _receive(self, ours: socket.socket) -> None:
        with suppress(OSError):  # a peer that is not there yet: the kernel tells of it here
            data, sender = ours.recvfrom(_PACKET.size + 1)
            at_us = now_us()
            packet = decode(data)
            address = sender[0], sender[1]
            if packet is None or packet.run != self._run or address not in self._peers:
                return
            if packet.kind == _REQUEST:
                ours.sendto(self._packet(_ANSWER, packet.number, packet.t1_us, at_us).encode(), sender)
            elif self._asked.get(address) == (packet.number, packet.t1_us):
                del self._asked[address]
                self._take(address, packet, at_us)

    def _take(self, address: Address, packet: Packet, t4_us: int) -> None:
        peer, told = self._peers[address], packet.node.rstrip(b"\0").decode("ascii", "replace")
        if told == self._node or not NAME.fullmatch(told):
            return  # one of our own addresses: the same list may be given to every VM
        if peer.name and peer.name != told:
            self._say(f"{peer.name}={address[0]} says that it is {told}: no probe of it is taken")
            return
        stamp = now()
        row = {"ts_ms": stamp.ts_ms, "peer": told, "address": address[0]}
        times = {"t1_us": packet.t1_us, "t2_us": packet.t2_us, "t3_us": packet.t3_us, "t4_us": t4_us}
        self._rows.append(jsonl.encode({**row, **times, "mono_ms": stamp.mono_ms}))

    def _say(self, message: str) -> None:
        """Once each."""
        if message not in self._said:
            self._said.add(message)
            self._warn(message)
