"""What one parse has read, refused and written so far."""

from collections.abc import Callable, Iterable
from pathlib import Path

from tracekit.errors import BadLineError, TracekitError
from tracekit.files.reading import Account
from tracekit.files.writing import LinesFile, write_json
from tracekit.records import ManifestFile, Rejected

Progress = Callable[[int, int], None]  # told of bytes read so far, and of all bytes
_TEXT_LIMIT = 65_536
_FIRST = 5  # bad lines that the user is shown


class Ledger:
    """The accounts of all inputs, the rejected lines, and the entries of the manifest."""

    def __init__(self, folder: Path, is_strict: bool, progress: Progress | None, size: int) -> None:
        """folder: of the cctf being built. is_strict: the first bad line ends it. size: bytes to read."""
        self.folder = folder
        self.accounts: dict[str, Account] = {}
        self.files: list[ManifestFile] = []
        self.first_bad: list[BadLineError] = []
        self.rejected = 0
        self._is_strict = is_strict
        self._rejects = LinesFile(folder, "rejected.jsonl")
        self._progress = progress
        self._size, self._read = size, 0

    @property
    def torn(self) -> int:
        """Last lines whose writer was killed."""
        return sum(account.rejected["torn"] for account in self.accounts.values())

    @property
    def records(self) -> int:
        """Lines of all files of the cctf but the rejected ones."""
        return sum(file.records for file in self.files if file.name.endswith(".jsonl")) - self.rejected

    def account(self, name: str) -> Account:
        """The account of a raw file."""
        return self.accounts.setdefault(name, Account())

    def reject(self, bad: BadLineError, line: bytes) -> None:
        """Keep a bad line. Raises TracekitError where one ends it all."""
        if bad.reason != "torn":
            if self._is_strict:
                raise TracekitError(f"{bad} [{bad.reason}]; mend the line, or parse without STRICT=1")
            if len(self.first_bad) < _FIRST:
                self.first_bad.append(bad)
        text = line.decode("utf-8", "backslashreplace")[:_TEXT_LIMIT]
        self._rejects.write([Rejected(file=bad.file, line=bad.line, reason=bad.reason, text=text)])
        self.rejected += 1

    def on_bytes(self, count: int) -> None:
        """So many bytes more have been read."""
        self._read += count
        if self._progress:
            self._progress(self._read, self._size)

    def write(self, name: str, value: object) -> None:
        """Write a document."""
        self.files.append(write_json(self.folder, name, value))

    def close(self, outs: Iterable[LinesFile]) -> None:
        """Finish files."""
        self.files += [out.close() for out in outs]

    def manifest_files(self) -> list[ManifestFile]:
        """All files by name; no line is rejected after this."""
        self.close([self._rejects])
        return sorted(self.files, key=lambda file: file.name)
