"""The Perfetto bundle: decoded by Perfetto's definitions; loaded by trace_processor where there is one."""

import json
import shutil
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from hypothesis import given
from hypothesis import strategies as st
from runs import T0, snapshot, tool
from three_nodes import AHEAD_MS, NODES, TRACE, called, served, span, three_nodes

from tracekit.errors import DONE, REJECTED
from tracekit.export.timed_spans import Span
from tracekit.records import Invocation

try:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
except ModuleNotFoundError:
    pb = None

NS = 1_000_000  # of a ms
CAUSES = {(1, 2), (2, 3), (3, 4), (4, 5), (4, 7), (5, 6), (7, 8)}  # parent and child, by number of the span


@pytest.fixture(autouse=True)
def _perfetto_is_there() -> None:
    need(pb, "the packages of requirements/perfetto.txt (tools/setup.sh perfetto)")


class Slice:
    """A slice as the importer of a trace makes it of two packets."""

    def __init__(self, packet: Any, depth: int) -> None:
        self.ts = packet.timestamp
        self.dur = -1
        self.track = packet.track_event.track_uuid
        self.name, self.depth = packet.track_event.name, depth
        self.category = packet.track_event.categories[0]
        self.flows = list(packet.track_event.flow_ids)
        self.args = {
            one.name: getattr(one, one.WhichOneof("value")) for one in packet.track_event.debug_annotations
        }


class File:
    """A trace file read as an importer does: packets in the order of their time, equal ones as they stand."""

    def __init__(self, data: bytes) -> None:
        self.packets = pb.Trace.FromString(data).packet
        self.tracks = {
            one.track_descriptor.uuid: one.track_descriptor
            for one in self.packets
            if one.HasField("track_descriptor")
        }
        self.slices: list[Slice] = []
        self.counters: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.instants: list[Slice] = []
        open_slices: dict[int, list[Slice]] = defaultdict(list)
        for packet in sorted(self.packets, key=lambda one: one.timestamp):
            if packet.HasField("track_event"):
                self._take(packet, open_slices[packet.track_event.track_uuid])
        still_open = [one for stack in open_slices.values() for one in stack]
        assert {one.category for one in still_open} <= {"process"}

    def _take(self, packet: Any, stack: list[Slice]) -> None:
        event = packet.track_event
        assert event.track_uuid in self.tracks
        assert packet.timestamp_clock_id == pb.BUILTIN_CLOCK_REALTIME
        if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
            stack.append(Slice(packet, len(stack)))
            self.slices.append(stack[-1])
        elif event.type == pb.TrackEvent.TYPE_SLICE_END:
            ended = stack.pop()
            ended.dur = packet.timestamp - ended.ts
        elif event.type == pb.TrackEvent.TYPE_INSTANT:
            self.instants.append(Slice(packet, 0))
        else:
            assert self.tracks[event.track_uuid].HasField("counter")
            path = self.path(event.track_uuid)
            self.counters[path].append((packet.timestamp, event.double_counter_value))

    def path(self, uuid: int) -> str:
        """The names of a track and of those above it."""
        one = self.tracks[uuid]
        name = one.process.process_name if one.HasField("process") else one.name
        return f"{self.path(one.parent_uuid)}/{name}" if one.parent_uuid else name

    def flows(self) -> set[tuple[int, int]]:
        """Which slice leads to which, by number of their spans: by time, else in the order of the file."""
        last: dict[int, Slice] = {}
        found = set()
        for one in self.slices:
            for flow in one.flows:
                if flow in last:
                    found.add((int(last[flow].args["span_id"], 16), int(one.args["span_id"], 16)))
                last[flow] = one
        return found


class Bundle:
    """trace.zip, read."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            data = {name: archive.read(name) for name in archive.namelist()}
        self.manifest = json.loads(data.pop("perfetto_manifest.json"))["perfetto_manifest"]
        self.files = {name: File(one) for name, one in data.items()}
        self.requests = self.files["requests.pftrace"]

    def node(self, name: str) -> File:
        return self.files[f"node.{name}.pftrace"]


def export(target: Path) -> Path:
    done = tool("exporters/perfetto.py", str(target))
    assert done.returncode == DONE, done.stderr
    return target / "exports" / "perfetto" / "trace.zip"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    need(pb, "the packages of requirements/perfetto.txt (tools/setup.sh perfetto)")
    yield export(three_nodes(tmp_path_factory.mktemp("perfetto")))


@pytest.fixture(scope="module")
def bundle(archive: Path) -> Bundle:
    return Bundle(archive)


def test_each_node_is_a_machine_with_its_clock(bundle: Bundle) -> None:
    files = {one["path"]: one for one in bundle.manifest["files"]}
    assert files.keys() == bundle.files.keys()
    machines = {one["machine"]["name"] for one in files.values() if "machine" in one}
    assert machines == set(NODES)
    assert bundle.manifest["trace_time"] == {"clock": "REALTIME", "file": "requests.pftrace"}
    assert files["node.edge0.pftrace"]["clocks"] == {
        "clock": "REALTIME",
        "sync_to": {"file": "requests.pftrace", "clock": "REALTIME"},
        "offset_ns": -2_500_000,  # edge0 is 2.5 ms ahead: what it stamped came earlier
    }
    assert "clocks" not in files["node.cloud0.pftrace"]
    for file in bundle.files.values():
        assert file.packets[0].clock_snapshot.primary_trace_clock == pb.BUILTIN_CLOCK_REALTIME


def test_counters_stand_where_their_interval_begins(bundle: Bundle) -> None:
    cloud, edge = bundle.node("cloud0"), bundle.node("edge0")
    assert cloud.counters["CPU"] == [((T0 + at) * NS, 10.0) for at in (0, 1000, 2000)]
    assert edge.counters["CPU"] == [((T0 + at) * NS, 11.0) for at in (0, 1000, 2000)]
    assert edge.counters["free memory"] == [((T0 + at) * NS, 200.0) for at in (1000, 2000, 3000)]
    assert edge.counters["nic in"][0] == (T0 * NS, 1001.0)
    assert edge.counters["nic out"][0] == (T0 * NS, 50.0)
    assert edge.counters["in_flight edge0-1"] == [((T0 + 1000) * NS, 3.0)]


def test_a_process_has_its_life_its_cpu_and_its_memory_and_uses_nothing_after_its_end(bundle: Bundle) -> None:
    cloud = bundle.node("cloud0")
    (process,) = [one for one in cloud.tracks.values() if one.HasField("process")]
    assert (process.process.pid, process.process.process_name) == (7, "serve")
    assert list(process.process.cmdline) == ["serve --port 1"]
    assert cloud.counters["serve/CPU"] == [((T0 + 1000) * NS, 25.0), ((T0 + 3000) * NS, 0.0)]
    assert cloud.counters["serve/RSS"] == [((T0 + 2000) * NS, 2048 * 1024.0), ((T0 + 3000) * NS, 0.0)]
    assert cloud.counters["unattributed CPU"] == [((T0 + 1000) * NS, 3.0)]
    (life,) = cloud.slices
    assert (life.ts, life.dur, life.track) == ((T0 + 1000) * NS, 2000 * NS, process.uuid)
    assert cloud.instants[0].args["exit_code"] == 0
    (other,) = bundle.node("endpoint0").slices
    assert (other.name, other.ts, other.dur) == ("load", (T0 + 1000) * NS, -1)  # it outlived the run


def test_gaps_are_slices_and_marks_are_instants(bundle: Bundle) -> None:
    edge = bundle.node("edge0")
    (gap,) = edge.slices
    assert (gap.name, gap.ts, gap.dur) == ("died", (T0 + 1000) * NS, 1000 * NS)
    assert edge.path(gap.track) == "gaps of cpu"
    found = {(edge.path(one.track), one.name, one.ts) for one in edge.instants}
    assert found == {("marks of nic", "link_down", (T0 + 2500) * NS), ("placement", "start", T0 * NS)}


def test_every_span_is_a_slice_of_its_node_at_the_corrected_time(bundle: Bundle) -> None:
    spans = {int(one.args["span_id"], 16): one for one in bundle.requests.slices if one.category != "queue"}
    assert spans.keys() == set(range(1, 9))
    assert all(one.args["trace_id"] == TRACE and one.depth == 0 for one in spans.values())
    shown = {number: bundle.requests.path(one.track) for number, one in spans.items()}
    assert shown == {
        1: "endpoint0/clients",
        2: "endpoint0/svc",
        3: "endpoint0/calls",
        4: "edge0/svc",
        5: "edge0/calls",
        6: "cloud0/svc",
        7: "edge0/calls",
        8: "cloud0/svc",
    }
    assert (spans[2].ts, spans[2].dur) == ((T0 + 1000) * NS, 40_500_000)
    assert spans[4].ts == (T0 + 1015) * NS - int(AHEAD_MS * NS)
    assert spans[4].args["cpu_time_ms"] == 1.25
    assert spans[4].args["status"] == 200
    (waited,) = [one for one in bundle.requests.slices if one.category == "queue"]
    assert (waited.ts, waited.dur, waited.depth) == (spans[2].ts, 10 * NS, 1)


def test_a_flow_leads_from_each_parent_to_each_child_across_nodes(bundle: Bundle) -> None:
    assert bundle.requests.flows() == CAUSES


def test_in_one_ms_the_flow_still_leads_from_parent_to_child(tmp_path: Path) -> None:
    """The children stand before their parents in the file of the invocations: nodes order equal times."""
    more = {
        "invocations.jsonl": [served("cloud0", 1000, 1.0, 3, 2), served("endpoint0", 1000, 2.0, 1, 9)],
        "calls.jsonl": [called("endpoint0", 1000, 1001, 2, 1, "cloud:8080")],
        "events_client.jsonl": [],
    }
    assert Bundle(export(three_nodes(tmp_path, more))).requests.flows() == {(1, 2), (2, 3)}


def test_the_same_data_set_gives_the_same_bytes(tmp_path: Path) -> None:
    target = three_nodes(tmp_path)
    export(target)
    first = snapshot(target / "exports")
    export(target)
    assert snapshot(target / "exports") == first


def test_a_request_without_a_start_is_refused_and_counted(tmp_path: Path) -> None:
    unknown = {**served("edge0", 1011, 20.0, 4, 3), "ts_enqueue": None, "ts_start": None}
    unknown |= {"queue_time_ms": None, "service_time_ms": None, "rt_ms": None}
    target = three_nodes(tmp_path, {"invocations.jsonl": [served("cloud0", 1013, 5.0, 6, 5), unknown]})
    done = tool("exporters/perfetto.py", str(target))
    assert done.returncode == REJECTED
    audit = json.loads((target / "exports" / "perfetto" / "audit.json").read_text())
    assert audit["refused"] == {
        "a request whose start or end is not known": {"count": 1, "first": ["invocations.jsonl:2"]}
    }
    assert audit["counted"]["slices of invocations"] == 1


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20), st.floats(0, 1)), max_size=60),
)
def test_slices_nest_however_requests_overlap(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, float, float]]
) -> None:
    from tracekit.export.perfetto.requests import RequestTrace, parents_named  # noqa: PLC0415 - an extra
    from tracekit.export.perfetto.tracks import TrackFile  # noqa: PLC0415

    spans = []
    for number, (at_ms, rt_ms, share) in enumerate(sorted(requests)):
        record = Invocation(
            ts_enqueue=T0 + at_ms, node="vm1", span_id=span(number), rt_ms=rt_ms, queue_time_ms=share * rt_ms
        )
        start_ns = (T0 + at_ms) * NS
        spans.append(Span(start_ns, start_ns + round(rt_ms * NS), "invocation", record, number))
    path = tmp_path_factory.mktemp("lanes") / "x.pftrace"
    file = TrackFile(path, T0 * NS)
    assert list(RequestTrace(file, {}, parents_named(spans)).write(spans)) == spans
    file.close()
    read = File(path.read_bytes())
    shown = sorted((one.ts, one.dur) for one in read.slices if one.category == "invocation")
    assert shown == sorted((one.start_ns, one.end_ns - one.start_ns) for one in spans)


# --- with trace_processor


@pytest.fixture(scope="module")
def query(archive: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Runs SQL over the bundle."""
    from perfetto.prebuilts.manifests.trace_processor_shell import (  # noqa: PLC0415
        TRACE_PROCESSOR_SHELL_MANIFEST,
    )
    from perfetto.prebuilts.perfetto_prebuilts import get_perfetto_prebuilt  # noqa: PLC0415
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig  # noqa: PLC0415

    program = shutil.which("trace_processor_shell")
    if program is None:
        try:
            program = get_perfetto_prebuilt(TRACE_PROCESSOR_SHELL_MANIFEST, soft_fail=True)
        except (OSError, subprocess.CalledProcessError):
            program = None
    if program is None:  # no part that a package brings: where its download fails, CI too goes on without it
        pytest.skip("trace_processor_shell on the PATH, or its download by the perfetto package")
    processor = TraceProcessor(trace=str(archive), config=TraceProcessorConfig(bin_path=program))
    yield lambda sql: [dict(row.__dict__) for row in processor.query(sql)]
    processor.close()


Query = Callable[[str], list[dict[str, Any]]]


def test_trace_processor_loads_it_without_an_error(query: Query) -> None:
    found = query("SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0")
    assert found == []


def test_trace_processor_finds_machines_spans_counters_and_flows(query: Query) -> None:
    machines = query("SELECT name FROM machine WHERE name IS NOT NULL ORDER BY name")
    assert [one["name"] for one in machines] == list(NODES)
    (spans,) = query("SELECT count(*) AS n FROM slice WHERE category IN ('invocation', 'call', 'client')")
    assert spans["n"] == 8
    counters = query(
        "SELECT machine.name AS node, ts, value FROM counter JOIN track ON track.id = counter.track_id "
        "JOIN machine ON machine.id = track.machine_id WHERE track.name = 'CPU' ORDER BY node, ts"
    )
    edge = [(one["ts"], one["value"]) for one in counters if one["node"] == "edge0"]
    shift = int(AHEAD_MS * NS)
    assert edge == [((T0 + at) * NS - shift, 11.0) for at in (0, 1000, 2000)]
    flows = query(
        "SELECT EXTRACT_ARG(a.arg_set_id, 'debug.span_id') AS parent, "
        "EXTRACT_ARG(b.arg_set_id, 'debug.span_id') AS child "
        "FROM flow JOIN slice a ON a.id = slice_out JOIN slice b ON b.id = slice_in"
    )
    assert {(int(one["parent"], 16), int(one["child"], 16)) for one in flows} == CAUSES
