"""A key-value store in one SQLite file that all workers share; a connection a thread."""

import sqlite3
import threading
from pathlib import Path

MAX_FILE_BYTES = 64 << 20
_PAGE_BYTES = 4096


class FullError(Exception):
    """The store has reached its size, or the disk is full."""


class Store:
    """Keys and values, both bounded by the caller; the whole is bounded here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.local()
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
            )

    def put(self, key: str, value: bytes) -> None:
        """Set key. Raises FullError."""
        try:
            with self._connection() as connection:
                connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, value))
        except sqlite3.OperationalError as error:
            raise FullError(str(error)) from error

    def get(self, key: str) -> bytes | None:
        """The value of key, or None."""
        row = self._connection().execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=5)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # a cache: nothing in it outlives the service
            connection.execute(f"PRAGMA max_page_count = {MAX_FILE_BYTES // _PAGE_BYTES}")
            self._threads.connection = connection
        return connection
