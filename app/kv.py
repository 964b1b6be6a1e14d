"""A key-value store in one SQLite file, which all workers share that have its path; a connection a thread."""

import fcntl
import sqlite3
import threading
from pathlib import Path

MAX_FILE_BYTES = 64 << 20
WAIT_S = 5.0  # a writer waits so long for the others
_PAGE_BYTES = 4096


class FullError(Exception):
    """The store has reached its size, or the disk is full."""


class BusyError(Exception):
    """Others have been writing for longer than a writer waits."""


class Store:
    """Keys and values, both bounded by the caller; the whole is bounded here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.local()
        # Of workers that start together one makes the file: SQLite lets nobody wait for a change to WAL, and
        # says "locked" at once.
        with path.with_suffix(".lock").open("wb") as lock, self._connection() as connection:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode = WAL")  # stays with the file
            connection.execute(
                "CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
            )

    def put(self, key: str, value: bytes) -> None:
        """Set key. Raises FullError, BusyError; sqlite3.OperationalError where the file itself fails."""
        try:
            with self._connection() as connection:
                connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, value))
        except sqlite3.OperationalError as error:  # its text tells: Python 3.10 gives no code
            if "full" in str(error):
                raise FullError(str(error)) from error
            if "locked" in str(error):
                raise BusyError(str(error)) from error
            raise

    def get(self, key: str) -> bytes | None:
        """The value of key, or None."""
        row = self._connection().execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=WAIT_S)
            connection.execute("PRAGMA synchronous = OFF")  # a cache: nothing in it outlives the service
            connection.execute(f"PRAGMA max_page_count = {MAX_FILE_BYTES // _PAGE_BYTES}")
            self._threads.connection = connection
        return connection
