"""A data set that parse or merge made, read back: documents whole, series a record at a time.

Nothing here judges it: validate does. What is made of a data set goes beside it, into its home.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from tracekit.errors import TracekitError
from tracekit.records import FILES, Link, Manifest, Node, Quality

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Dataset:
    """A cctf directory, of one node or merged."""

    folder: Path
    manifest: Manifest

    @property
    def home(self) -> Path:
        """Where exports and the report go: logs/<RUN_ID>, or the merged directory itself."""
        return self.folder.parent if self.folder.name == "cctf" else self.folder

    def has(self, name: str) -> bool:
        """Whether the file is there; absent means that its source did not run."""
        return any(file.name == name for file in self.manifest.files)

    def read(self, name: str) -> Iterator[Any]:
        """The records of a .jsonl in their order; none where it is absent.

        Raises TracekitError at what is no such record."""
        if not self.has(name):
            return
        decoder = msgspec.json.Decoder(FILES[name].record)
        with (self.folder / name).open("rb") as stream:
            rest, done = b"", 0
            while data := stream.read(_BLOCK):
                end = data.rfind(b"\n") + 1
                block, rest = (rest + data[:end], data[end:]) if end else (b"", rest + data)
                try:
                    yield from decoder.decode_lines(block)
                except msgspec.MsgspecError as error:
                    raise TracekitError(
                        f"{name}, after byte {done}: {error}; `make validate` says more"
                    ) from error
                done += len(block)

    def nodes(self) -> list[Node]:
        """The node documents."""
        return cast("list[Node]", self._document("nodes.json", list[Node], []))

    def links(self) -> list[Link]:
        """The link documents."""
        return cast("list[Link]", self._document("links.json", list[Link], []))

    @property
    def is_merged(self) -> bool:
        """Whether merge made it, of one node or of several."""
        return "nodes" in self._document("quality.json", dict[str, Any], {})

    def qualities(self) -> dict[str, Quality]:
        """The account of each node; "" for one that has no name."""
        if self.is_merged:
            whole = self._document("quality.json", dict[str, Any], {})
            return {node: msgspec.convert(one, Quality) for node, one in whole["nodes"].items()}
        name = next(iter(self.manifest.nodes), "")
        return {name: cast("Quality", self._document("quality.json", Quality, None))}

    def merge_account(self) -> dict[str, Any]:
        """What merge says of the nodes together: clocks, causality; {} where nothing was merged."""
        whole: dict[str, Any] = self._document("quality.json", dict[str, Any], {})
        return dict(whole.get("merge") or {})

    def _document(self, name: str, kind: Any, absent: Any) -> Any:
        if not self.has(name):
            return absent
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except (OSError, msgspec.MsgspecError) as error:
            raise TracekitError(f"{self.folder / name}: {error}; `make validate` says more") from error


def open_dataset(folder: Path) -> Dataset:
    """The data set in folder. Raises TracekitError where there is none."""
    path = folder / "manifest.json"
    try:
        return Dataset(folder, msgspec.json.decode(path.read_bytes(), type=Manifest))
    except FileNotFoundError as error:
        raise TracekitError(
            f"{path} is missing: no data set here; `make parse` or `make merge` makes it"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise TracekitError(f"{path}: {error}; make the data set again") from error
