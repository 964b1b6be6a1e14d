#!/usr/bin/env python3
"""Serve app.main:app with uvicorn: app/serve.py --host ADDRESS --port N --workers N."""

import argparse
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.limits import MAX_HEAD_BYTES


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    config = uvicorn.Config(
        "app.main:app",
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # no header says who the client is
        # Without it a head of 16 to 64 KiB is taken or refused as the pieces happen to come.
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    listener = config.bind_socket()
    # What it accepts inherits this. asyncio would set it, but not on a socket that a parent process made:
    # the head and the body of an answer are two writes, and the second would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if arguments.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run([listener])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
