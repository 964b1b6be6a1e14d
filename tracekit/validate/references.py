"""Names in one file against the file that defines them; where that one is not there, nothing is asked.

Memory: each distinct node, link, module and instance, and about 100 bytes for each process of the inventory.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any

from tracekit.files.reading import Batch
from tracekit.records import Link, ModuleInventory
from tracekit.validate.report import Report, shown
from tracekit.validate.spans import Spans


class Names:
    """What the trace defines (None: it does not say); each check tells what a file names beyond that."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._nodes: set[str] | None = None
        self._links: set[str] | None = None
        self._modules: set[str] | None = None
        self._instances: set[str] | None = None
        self._processes: set[int] | None = None  # hashes of (node, pid, starttime)
        self.spans = Spans()

    def define_nodes(self, nodes: list[str]) -> None:
        """From nodes.json."""
        self._nodes = set(nodes)

    def define_links(self, links: list[Link]) -> None:
        """From links.json."""
        times = Counter(one.link for one in links)
        for link in sorted(link for link in times if times[link] > 1):
            self._report.error("link", "links.json", f"{shown(link)} is there more than once")
        self._links = set(times)

    def define_modules(self, inventories: list[ModuleInventory]) -> None:
        """From module_inventory.json; one that is empty comes from a run without an app, and says nothing."""
        modules = {module.module_id for one in inventories for module in one.modules}
        self._modules = modules or None

    def expect(self, files: list[str]) -> None:
        """These files will be read; an empty one defines that there is nothing."""
        self._processes = set() if "proc_inventory.jsonl" in files else None
        self._instances = set() if "placement_events.jsonl" in files else None

    def define_processes(self, _name: str, batch: Batch[Any]) -> None:
        """From proc_inventory.jsonl."""
        if self._processes is not None:
            self._processes.update(hash(_process(one)) for one in batch.records)

    def define_instances(self, _name: str, batch: Batch[Any]) -> None:
        """From placement_events.jsonl."""
        if self._instances is not None:
            self._instances.update(one.instance_id for one in batch.records if one.instance_id is not None)

    def check_own_node(self, name: str, batch: Batch[Any]) -> None:
        """The node of a sampled series must be one that was collected on."""
        for line, node in self._strange(batch, _node, self._nodes):
            self._report.error("node", name, f"{shown(node)} is not in nodes.json", line)

    def check_named(self, name: str, nodes: Iterable[str]) -> None:
        """The nodes that a document names."""
        for node in sorted(set(nodes) - self._nodes) if self._nodes is not None else ():
            self._report.error("node", name, f"{shown(node)} is not in nodes.json")

    def check_node(self, name: str, batch: Batch[Any]) -> None:
        """An application, an adapter and the load may know nodes that nobody collected on."""
        for line, node in self._strange(batch, _node, self._nodes):
            self._report.tell("other_node", name, f"{shown(node)} is not in nodes.json", line)

    def check_link(self, name: str, batch: Batch[Any]) -> None:
        """Another writer's links.json may have <node>.nic, and not that node's further NICs."""
        for line, link in self._strange(batch, lambda one: one.link, self._links):
            node, nic, _ = link.partition(".nic.")
            if not nic or f"{node}.nic" not in (self._links or ()):
                self._report.error("link", name, f"{shown(link)} is not in links.json", line)

    def check_process(self, name: str, batch: Batch[Any]) -> None:
        """(pid, starttime) of a line that names both."""
        known = self._processes
        if known is None:
            return
        for line, one in zip(batch.numbers, batch.records, strict=True):
            if one.pid is not None and one.starttime is not None and hash(_process(one)) not in known:
                told = f"pid {one.pid} with starttime {one.starttime} is not in proc_inventory.jsonl"
                self._report.tell("process", name, told, line)

    def check_module(self, name: str, batch: Batch[Any]) -> None:
        """module_id of a line that names one."""
        for line, module in self._strange(batch, lambda one: one.module_id, self._modules):
            self._report.tell("module", name, f"{shown(module)} is not in module_inventory.json", line)

    def check_instance(self, name: str, batch: Batch[Any]) -> None:
        """instance_id of a line that names one."""
        for line, instance in self._strange(batch, lambda one: one.instance_id, self._instances):
            self._report.tell("instance", name, f"{shown(instance)} is not in placement_events.jsonl", line)

    def take_spans(self, name: str, batch: Batch[Any]) -> None:
        """Spans and parents; what is missing is known at the end."""
        self.spans.take(name, batch.numbers, batch.records)

    def _strange(
        self, batch: Batch[Any], name_of: Callable[[Any], str | None], known: Container[str] | None
    ) -> list[tuple[int, str]]:
        """(line, name) of the lines that name what is not known."""
        if known is None:
            return []
        named = [name_of(one) for one in batch.records]
        strange = {name for name in set(named) if name is not None and name not in known}
        if not strange:
            return []
        return [(line, name) for line, name in zip(batch.numbers, named, strict=True) if name in strange]


def _node(record: Any) -> str:
    node: str = record.node if hasattr(record, "node") else record.node_id
    return node


def _process(record: Any) -> tuple[str, int, int]:
    return record.node, record.pid, record.starttime
