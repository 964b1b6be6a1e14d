"""What was found, by kind: errors, which make a cctf invalid, and what is only counted."""

from pathlib import Path

from msgspec import Struct, json

FEW = 5  # findings of one kind that are kept in full; the others are counted

ERRORS = {
    "manifest": "the manifest itself",
    "missing": "a file that should be there is not",
    "unlisted": "the manifest does not list it",
    "not_a_file": "a link, a directory or the like in the place of a file",
    "hash": "size or hash is not the manifest's",
    "records": "the number of records is not the manifest's",
    "times": "the first or last time is not the manifest's",
    "encoding": "lines that do not end in LF",
    "record": "not the JSON of its record",
    "order": "out of the order of its sort key",
    "duplicate": "a record that is there twice",
    "law": "quality.json does not add up",
    "duration": "a duration that its stamps, or its parts, contradict",
    "no_stamp": "neither ts_enqueue nor ts_end is known",
    "id": "an id with characters that are not allowed, or with too many",
    "node": "a node that nodes.json does not have, or has twice",
    "link": "a link that links.json does not have, or has twice",
}
COUNTED = {
    "parent": "parent spans that this trace does not have",
    "process": "processes that proc_inventory.jsonl does not have",
    "module": "modules that module_inventory.json does not have",
    "instance": "instances that placement_events.jsonl does not start",
    "other_node": "nodes that nodes.json does not have, named by an application, an adapter or the load",
    "unknown_file": "listed files that this release does not know",
}


class Finding(Struct, frozen=True):
    """line: from 1; None where the finding is about the file as a whole."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.message}"


class Group(Struct):
    """Findings of one kind: how many, and the first few."""

    count: int = 0
    first: list[Finding] = []


class Report(Struct):
    """The machine-readable report is this record as JSON. errors, counted: kind -> group."""

    dir: str
    valid: bool = True
    run_id: str | None = None
    nodes: list[str] = []
    files: int = 0
    records: int = 0
    errors: dict[str, Group] = {}
    counted: dict[str, Group] = {}

    def as_json(self) -> str:
        """The machine-readable report, one line."""
        return json.encode(self).decode()

    def error(self, kind: str, file: str, message: str, line: int | None = None) -> None:
        """Something that makes the cctf invalid; kind is a key of ERRORS."""
        self.valid = False
        _add(self.errors.setdefault(kind, Group()), Finding(file, line, message))

    def tell(self, kind: str, file: str, message: str, line: int | None = None) -> None:
        """Something to know; kind is a key of COUNTED."""
        _add(self.counted.setdefault(kind, Group()), Finding(file, line, message))

    def tell_all(self, kind: str, count: int, first: list[Finding]) -> None:
        """As many things to know, of which these are the first few."""
        if count:
            group = self.counted.setdefault(kind, Group())
            group.count += count
            group.first = [*group.first, *first][:FEW]


def _add(group: Group, finding: Finding) -> None:
    group.count += 1
    if len(group.first) < FEW:
        group.first.append(finding)


def unreadable(folder: Path, message: str) -> Report:
    """The report of a directory that holds no readable manifest."""
    report = Report(str(folder))
    report.error("manifest", "manifest.json", message)
    return report


def shown(value: object) -> str:
    """A value from a file as messages show it: ASCII, and not too long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
