"""Which of the inputs go together: each node once, all of one run; everything else is refused, and both
sides are named."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from tracekit.errors import TracekitError
from tracekit.files.reading import Account, Reader, ignore
from tracekit.merge.inputs import Input
from tracekit.records import Name, Record


class Member(NamedTuple):
    """An input under the name of its node. document: its entry in nodes.json."""

    node: str
    source: Input
    document: dict[str, Any]

    @property
    def machine(self) -> tuple[str | None, str | None]:
        """Who it was: machine and boot; null where its writer did not know."""
        return self.document.get("machine_id_hash"), self.document.get("boot_id")


class _Line(Record, frozen=True):
    node: Name | None = None
    node_id: Name | None = None


def chosen(inputs: Iterable[Input], run_id: str) -> tuple[list[Member], list[str]]:
    """The members by node, and what was left out because it is there already, in words.

    Raises TracekitError where inputs are of different runs, or two of them claim to be one node."""
    members: dict[str, Member] = {}
    twice: list[str] = []
    by_digest: dict[str, Input] = {}
    first: Input | None = None
    for source in inputs:
        first = first or source
        if source.digest in by_digest:
            twice.append(f"{source.name} is the same as {by_digest[source.digest].name}: taken once")
            continue
        by_digest[source.digest] = source
        _refuse_other_run(source, first, run_id)
        member = _member(source)
        if member.node in members:
            raise _two_of_one_name(members[member.node], member)
        members[member.node] = member
    return sorted(members.values()), sorted(twice)


def _refuse_other_run(source: Input, first: Input, run_id: str) -> None:
    own, other = source.manifest.run_id, first.manifest.run_id
    if own != other:
        told = f"{first.name} is of run {other}, {source.name} of run {own}"
        raise TracekitError(f"{told}: one merge is one run; name the directories of one of them")
    if own != run_id:
        told = f"{source.name} is of run {own}, RUN_ID is {run_id}"
        raise TracekitError(f"{told}: give RUN_ID={own}, or name the directories of {run_id}")


def _two_of_one_name(one: Member, other: Member) -> TracekitError:
    both = f"NODE_ID {one.node} is in {_shown(one)} and in {_shown(other)}"
    if one.machine == other.machine and None not in one.machine:
        return TracekitError(f"{both}: two versions of one node; leave the older one out")
    return TracekitError(
        f"{both}: not the same machine; record one of them again with a NODE_ID of its own, or leave it out"
    )


def _shown(member: Member) -> str:
    machine, boot = (one[:12] if one else "unknown" for one in member.machine)
    return f"{member.source.name} (machine {machine}, boot {boot})"


def _member(source: Input) -> Member:
    nodes: list[dict[str, Any]] = source.document("nodes.json") or []
    named = [one["node_id"] for one in nodes]
    if named != source.manifest.nodes:
        told = f"nodes.json has {', '.join(named) or 'no node'}, its manifest {source.node or 'none'}"
        raise TracekitError(f"{source.name}: {told}; parse that run again")
    if nodes:
        return Member(source.node, source, nodes[0])
    node = _node_of_lines(source)
    return Member(node, source, {"node_id": node, **dict.fromkeys(_UNKNOWN)})


_UNKNOWN = ("stage", "cpu_cores", "mem_mb", "cpu_model", "cpu_freq_mhz")


def _node_of_lines(source: Input) -> str:
    """The node of an input that no collector ran on, a load generator's perhaps: its first line's."""
    for name in sorted(name for name in source.files if name.endswith(".jsonl")):
        batches = Reader(_Line, ignore).read(source.folder / name, Account())
        first = next((batch.records[0] for batch in batches), None)
        if first and (first.node or first.node_id):
            return str(first.node or first.node_id)
    raise TracekitError(f"{source.name}: neither nodes.json nor any line names a node; leave it out")
