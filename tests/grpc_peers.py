"""A gRPC service and its client on loopback, for the adapters of proxies: each is a program of its own.

Usage: PYTHON grpc_peers.py serve PORT
       PYTHON grpc_peers.py call PORT PROXY_PID
The client prints one JSON object: {"method": {"start_ms": ..., "end_ms": ..., "held_up_ms": ..., "code": 0}}.
PYTHON is one that has grpcio.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from clients import Server

SERVICE = "tracekit.test.Peer"
LEAVES_S = 0.2  # when the client of /Left cancels its call
LONG_S = 0.9  # what /Left and /Late take


class Peer:
    """One method for each way in which a call ends; messages are bytes as they are."""

    def plain(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        return request

    def slow(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        time.sleep(0.12)
        return request

    def long(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        time.sleep(LONG_S)
        return request

    def not_found(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "told in trailers alone")

    def broken_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield request
        time.sleep(0.05)
        yield request
        context.abort(grpc.StatusCode.DATA_LOSS, "told after two messages")

    def upload(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(map(len, requests))


def serve(port: int) -> None:
    """Until somebody ends it."""
    peer, unary = Peer(), grpc.unary_unary_rpc_method_handler
    handlers = {
        "Plain": unary(peer.plain),
        "Slow": unary(peer.slow),
        "Late": unary(peer.long),
        "Left": unary(peer.long),
        "NotFound": unary(peer.not_found),
        "BrokenStream": grpc.unary_stream_rpc_method_handler(peer.broken_stream),
        "Upload": grpc.stream_unary_rpc_method_handler(peer.upload),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def call(port: int, proxy: int) -> None:
    """Every method once, one after the other; /Dead and /Unknown are those that nobody serves."""
    servers = (Server(proxy), Server(os.getpid()))  # a client that waits for a CPU is late itself
    told = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        channel.unary_unary(f"/{SERVICE}/Plain")(b"first")  # the proxy connects to the service
        for method in ("Slow", "NotFound", "BrokenStream", "Upload", "Unknown", "Dead", "Late", "Left"):
            before_ms = sum(server.held_up_ms() for server in servers)
            start_ms = time.time() * 1000
            code = _call(channel, method)
            end_ms = time.time() * 1000
            held_up_ms = sum(server.held_up_ms() for server in servers) - before_ms
            told[method] = {"start_ms": start_ms, "end_ms": end_ms, "held_up_ms": held_up_ms, "code": code}
    sys.stdout.write(json.dumps(told))


def _call(channel: grpc.Channel, method: str) -> int:
    """Its status as the client got it."""
    path = f"/{SERVICE}/{method}"
    try:
        if method == "Upload":
            channel.stream_unary(path)(b"x" * 100 for _ in range(3))
        elif method == "BrokenStream":
            list(channel.unary_stream(path)(b"ab"))
        else:
            future = channel.unary_unary(path).future(b"ab")
            if method == "Left":
                time.sleep(LEAVES_S)
                future.cancel()
            future.result(timeout=20)
    except grpc.FutureCancelledError:
        number: int = grpc.StatusCode.CANCELLED.value[0]
    except grpc.RpcError as error:
        number = error.code().value[0]
    else:
        number = 0
    return number


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*map(int, sys.argv[2:]))
