"""CCTF 1.0: one msgspec Struct for each kind of record, in the order of its fields in the file.

Decoding into a Struct is the validation: types are strict (no text for a number, no NaN), unknown
fields are ignored. The JSON Schemas under docs/schema/ are made from these definitions, and a test
holds docs/cctf.md against them. Units end the names; None is unknown; UNSET is left out of the file.
"""

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

CCTF_VERSION = "1.0"

_MAX = 2**63 - 1
TimeMs = Annotated[int, Meta(ge=0, le=_MAX, description="ms since the Unix epoch, UTC")]
TimeUs = Annotated[int, Meta(ge=0, le=_MAX, description="us since the Unix epoch, UTC")]
MonoMs = Annotated[int, Meta(ge=0, le=_MAX, description="ms of CLOCK_BOOTTIME")]
Count = Annotated[int, Meta(ge=0, le=_MAX)]
Ticks = Annotated[int, Meta(ge=0, le=_MAX, description="kernel clock ticks, clk_tck a second")]
Pid = Annotated[int, Meta(ge=1, le=_MAX)]
Percent = Annotated[float, Meta(ge=0, le=100, description="percent of the time of all cores, or of one")]
Rate = Annotated[float, Meta(ge=0)]
DurationMs = Annotated[float, Meta(ge=0, description="ms, may be fractional")]
# The end is "nothing follows": Python's $ would let a newline through.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?![\s\S])")]
Json = dict[str, Any]


class Record(Struct, frozen=True, kw_only=True):
    """A line of a .jsonl file or a part of a .json document."""


# --- time series of the host


class HostMetric(Record, frozen=True):
    """One sample of the host: CPU (mpstat) or memory (vmstat), for the second that ends at ts_ms."""

    ts_ms: TimeMs
    node: Name
    stage: Name
    cpu_util: Percent | UnsetType = UNSET
    mem_free_mb: Count | UnsetType = UNSET
    ts_ms_orig: TimeMs | UnsetType = UNSET


class Disk(Record, frozen=True):
    """What a whole disk did; busy_pct may pass 100 by the kernel's rounding."""

    dev: str
    read_Bps: Count | None = None
    write_Bps: Count | None = None
    reads_per_s: Rate | None = None
    writes_per_s: Rate | None = None
    busy_pct: Rate | None = None


class Pressure(Record, frozen=True):
    """Time in which tasks were stalled, ms a second: some of them, or all that were not idle (full)."""

    cpu_some_ms_per_s: Rate | None = None
    memory_some_ms_per_s: Rate | None = None
    memory_full_ms_per_s: Rate | None = None
    io_some_ms_per_s: Rate | None = None
    io_full_ms_per_s: Rate | None = None


class HostExtra(Record, frozen=True):
    """More of the host, over the dt_ms before ts_ms: the kernel's counters, between two readings."""

    ts_ms: TimeMs
    node: Name
    stage: Name | None = None
    iowait_pct: Percent | None = None
    steal_pct: Percent | None = None
    core_util_pct: list[Percent | None] | None = None
    mem_available_mb: Count | None = None
    disks: list[Disk] | None = None
    psi: Pressure | None = None
    dt_ms: DurationMs | None = None
    mono_ms: MonoMs | None = None
    ts_ms_orig: TimeMs | UnsetType = UNSET


class LinkMetric(Record, frozen=True):
    """Bytes a second through a NIC, over the interval that ends at ts_ms."""

    ts_ms: TimeMs
    node: Name
    link: str
    rx_Bps: Count
    tx_Bps: Count
    ts_ms_orig: TimeMs | UnsetType = UNSET


class ClockProbe(Record, frozen=True):
    """A round trip to a peer: sent t1 and back t4 by our clock, received t2 and answered t3 by the peer's."""

    ts_ms: TimeMs
    node: Name
    peer: Name
    address: str
    t1_us: TimeUs
    t2_us: TimeUs
    t3_us: TimeUs
    t4_us: TimeUs
    mono_ms: MonoMs | None = None
    ts_ms_orig: TimeMs | UnsetType = UNSET


# --- processes


class ProcMetric(Record, frozen=True):
    """One process as the kernel gave it; (pid, starttime) is its identity."""

    ts_ms: TimeMs
    node: Name
    pid: Pid
    rss_kb: Count
    utime: Ticks
    stime: Ticks
    starttime: Ticks
    ts_ms_orig: TimeMs | UnsetType = UNSET


class ProcCpu(Record, frozen=True):
    """CPU that a process used in the dt_ms before ts_ms; pid null = unattributed."""

    ts_ms: TimeMs
    node: Name
    pid: Pid | None
    cpu_ms: DurationMs
    dt_ms: DurationMs
    starttime: Ticks | None
    source: Literal["poll", "exit", "rusage", "cgroup"]
    ts_ms_orig: TimeMs | UnsetType = UNSET


class ProcRss(Record, frozen=True):
    """Resident memory of a process, kB of 1024 bytes."""

    ts_ms: TimeMs
    node: Name
    pid: Pid
    rss_kb: Count
    starttime: Ticks
    ts_ms_orig: TimeMs | UnsetType = UNSET


class ProcInventory(Record, frozen=True):
    """A process came into sight, or ended; what is known of its end is in the last six fields."""

    ts_ms: TimeMs
    node: Name
    event: Literal["seen", "end"]
    pid: Pid
    starttime: Ticks
    ppid: Count | None = None
    comm: str | None = None
    cmdline: str | None = None
    container: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    utime: Ticks | None = None
    stime: Ticks | None = None
    maxrss_kb: Count | None = None
    cpu_ms: DurationMs | UnsetType = UNSET
    ts_ms_orig: TimeMs | UnsetType = UNSET


class CgroupMetric(Record, frozen=True):
    """What the kernel counted for the container's cgroup since it was made; null: not counted there."""

    ts_ms: TimeMs
    node: Name
    container: str
    usage_us: Count | None = None
    user_us: Count | None = None
    system_us: Count | None = None
    nr_periods: Count | None = None
    nr_throttled: Count | None = None
    throttled_us: Count | None = None
    mem_bytes: Count | None = None
    mem_limit_bytes: Count | None = None
    mono_ms: MonoMs | None = None
    ts_ms_orig: TimeMs | UnsetType = UNSET


class Mark(Record, frozen=True):
    """Something that a reader of the series must know: a gap, a restart, a clock step, a tick summary."""

    ts_ms: TimeMs
    node: Name
    collector: str
    kind: str
    mono_ms: MonoMs | None = None
    from_ms: TimeMs | None = None
    to_ms: TimeMs | None = None
    reason: str | None = None
    detail: str | None = None
    ticks: Count | UnsetType = UNSET
    rows: Count | UnsetType = UNSET
    step_ms: int | UnsetType = UNSET
    cpu_ms: DurationMs | UnsetType = UNSET
    dt_ms: DurationMs | UnsetType = UNSET
    source: str | UnsetType | None = UNSET
    synchronised: bool | UnsetType | None = UNSET
    offset_ms: float | UnsetType | None = UNSET
    error_bound_ms: float | UnsetType | None = UNSET
    ts_ms_orig: TimeMs | UnsetType = UNSET
    from_ms_orig: TimeMs | UnsetType = UNSET
    to_ms_orig: TimeMs | UnsetType = UNSET


# --- the app layer: any field that a source cannot know is null or left out


class Invocation(Record, frozen=True):
    """One request or task, as the app or an adapter saw it."""

    ts_enqueue: TimeMs | None
    node: Name
    trace_id: str | None = None
    span_id: str | None = None
    parent_id: str | None = None
    ts_start: TimeMs | None = None
    ts_end: TimeMs | None = None
    queue_time_ms: DurationMs | None = None
    service_time_ms: DurationMs | None = None
    rt_ms: DurationMs | None = None
    module_id: str | None = None
    instance_id: str | None = None
    stage: Name | None = None
    method: str | None = None
    path: str | None = None
    bytes_in: Count | None = None
    bytes_out: Count | None = None
    cpu_time_ms: DurationMs | None = None
    status: int | None = None
    query: str | None = None
    grpc_status: int | None = None
    pid: Pid | None = None
    starttime: Ticks | None = None
    signal: int | None = None
    source: str | None = None
    app_id: str | None = None
    attempt: Count | None = None
    task_id: str | None = None
    queue_source: str | None = None
    ts_enqueue_orig: TimeMs | UnsetType = UNSET
    ts_start_orig: TimeMs | UnsetType = UNSET
    ts_end_orig: TimeMs | UnsetType = UNSET
    maxrss_kb: Count | None = None


class Call(Record, frozen=True):
    """A call of the app to its next hop: sent at ts_enqueue, answer received at ts_end."""

    ts_enqueue: TimeMs | None
    node: Name
    ts_end: TimeMs | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_id: str | None = None
    peer: str | None = None
    bytes_out: Count | None = None
    bytes_in: Count | None = None
    status: int | None = None
    ts_enqueue_orig: TimeMs | UnsetType = UNSET
    ts_end_orig: TimeMs | UnsetType = UNSET


class ClientEvent(Record, frozen=True):
    """A request as the load generator saw it."""

    ts_enqueue: TimeMs | None
    node: Name
    ts_end: TimeMs | None = None
    latency_ms: DurationMs | None = None
    trace_id: str | None = None
    span_id: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    bytes_in: Count | None = None
    bytes_out: Count | None = None
    error: str | None = None
    ts_enqueue_us: TimeUs | UnsetType = UNSET
    ts_enqueue_orig: TimeMs | UnsetType = UNSET
    ts_end_orig: TimeMs | UnsetType = UNSET


class PlacementEvent(Record, frozen=True):
    """An instance of a module started or stopped on a node."""

    ts: TimeMs
    node_id: Name
    event: str
    app_id: str | None = None
    module_id: str | None = None
    instance_id: str | None = None
    ts_orig: TimeMs | UnsetType = UNSET


class SystemStat(Record, frozen=True):
    """A figure of the app itself, such as its requests in flight."""

    ts_ms: TimeMs
    node_id: Name
    metric: str
    value: float
    stage: Name | None = None
    instance_id: str | None = None
    ts_ms_orig: TimeMs | UnsetType = UNSET


class Rejected(Record, frozen=True):
    """A line of a raw file that was not taken, and why; text is cut after 65,536 characters."""

    file: str
    line: Count
    reason: str
    text: str


# --- documents


class Clock(Record, frozen=True):
    """How well the node's clock was set; all null where no time service could be asked."""

    source: str | None = None
    synchronised: bool | None = None
    offset_ms: float | None = None
    error_bound_ms: float | None = None
    start: Json | UnsetType | None = UNSET
    stop: Json | UnsetType | None = UNSET


class RunMeta(Record, frozen=True):
    """The run: of start-collect, of the load generator (rate, duration), and what both say of the app."""

    run_id: Name
    started_ms: TimeMs | None = None
    stopped_ms: TimeMs | None = None
    interval_ms: Count | None = None
    rate: float | None = None
    duration: float | None = None
    scen: str | None = None
    img: str | None = None
    git_sha: str | None = None
    workers: Count | None = None
    tracekit_version: str | None = None
    started_mono_ms: MonoMs | None = None
    stopped_mono_ms: MonoMs | None = None
    node: Name | UnsetType = UNSET


class NodeMeta(Record, frozen=True):
    """The VM that was observed."""

    run_id: Name
    node: Name
    stage: Name
    host: str | None = None
    iface: str | None = None
    cpu_cores: Count | None = None
    mem_mb: Count | None = None
    cpu_model: str | None = None
    cpu_freq_mhz: Count | None = None
    cpu_freq_source: str | None = None
    boot_id: str | None = None
    machine_id_hash: str | None = None
    kernel: str | None = None
    clk_tck: Count | None = None
    page_size: Count | None = None
    clock: Clock | None = None


class LinkMeta(Record, frozen=True):
    """The primary NIC; BW_bps 0 = unknown; PR_s = half of the least round trip to peer, or null."""

    iface: str | None = None
    BW_bps: Count = 0
    PR_s: float | None = None
    peer: str | None = None


class Node(Record, frozen=True):
    """A node of nodes.json."""

    node_id: Name
    stage: Name | None
    cpu_cores: Count | None
    mem_mb: Count | None
    cpu_model: str | None
    cpu_freq_mhz: Count | None
    machine_id_hash: str | None = None
    boot_id: str | None = None
    kernel: str | None = None
    clk_tck: Count | None = None
    started_ms: TimeMs | None = None
    stopped_ms: TimeMs | None = None
    clock: Clock | None = None


class Link(Record, frozen=True):
    """A link of links.json: "<node>.nic", or "<u>--<v>" for a measured pair."""

    link: str
    u: Name
    v: str
    iface: str | None
    BW_bps: Count
    PR_s: float | None


class Module(Record, frozen=True):
    """A part of an app that serves invocations."""

    module_id: str
    name: str | None = None
    type: str | None = None


class ModuleInventory(Record, frozen=True):
    """The app's modules; empty where no app told of any."""

    app_id: str | None = None
    modules: list[Module] = []
    node: Name | UnsetType = UNSET


class ManifestFile(Record, frozen=True):
    """One file of a cctf: records are lines of a .jsonl, elements of an array, 1 for other documents."""

    name: str
    records: Count
    bytes: Count
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    first_ts: TimeMs | None
    last_ts: TimeMs | None


class Manifest(Record, frozen=True):
    """What a cctf directory holds; whoever changes a file afterwards is found out by its hash."""

    cctf_version: str
    run_id: Name
    nodes: list[Name]
    tracekit_version: str
    files: list[ManifestFile]


class Gap(Record, frozen=True):
    """Grid points without a sample, from from_ms up to, not including, to_ms."""

    from_ms: int
    to_ms: int
    reason: str


class CollectorQuality(Record, frozen=True):
    """expected = got + missing, counted in grid points from started_ms to stopped_ms."""

    expected: Count
    got: Count
    missing: Count
    gaps: list[Gap]


class InputQuality(Record, frozen=True):
    """lines = accepted + sum of rejected + duplicates."""

    lines: Count
    accepted: Count
    rejected: dict[str, int]
    duplicates: Count


class QualityMark(Record, frozen=True):
    """A mark as quality.json repeats it."""

    ts_ms: TimeMs
    kind: str
    detail: str | None = None


class Quality(Record, frozen=True):
    """The account of a run: every tick and every input line is got, missing, rejected or a duplicate."""

    collectors: dict[str, CollectorQuality]
    inputs: dict[str, InputQuality]
    marks: list[QualityMark]
    clock: Clock
    balanced: bool


# --- the files


class CctfFile(NamedTuple):
    """A file of a cctf: its record, and the key its lines are sorted by ("" for a document)."""

    record: type[Record]
    sort_key: str = ""
    is_array: bool = False


FILES: dict[str, CctfFile] = {
    "manifest.json": CctfFile(Manifest),
    "quality.json": CctfFile(Quality),
    "nodes.json": CctfFile(Node, is_array=True),
    "links.json": CctfFile(Link, is_array=True),
    "run_meta.json": CctfFile(RunMeta),
    "module_inventory.json": CctfFile(ModuleInventory),
    "host_metrics.jsonl": CctfFile(HostMetric, "ts_ms"),
    "link_metrics.jsonl": CctfFile(LinkMetric, "ts_ms"),
    "host_extra.jsonl": CctfFile(HostExtra, "ts_ms"),
    "proc_metrics.jsonl": CctfFile(ProcMetric, "ts_ms"),
    "proc_cpu.jsonl": CctfFile(ProcCpu, "ts_ms"),
    "proc_rss.jsonl": CctfFile(ProcRss, "ts_ms"),
    "proc_inventory.jsonl": CctfFile(ProcInventory, "ts_ms"),
    "cgroup_metrics.jsonl": CctfFile(CgroupMetric, "ts_ms"),
    "clock_probes.jsonl": CctfFile(ClockProbe, "ts_ms"),
    "marks.jsonl": CctfFile(Mark, "ts_ms"),
    "invocations.jsonl": CctfFile(Invocation, "ts_enqueue"),
    "calls.jsonl": CctfFile(Call, "ts_enqueue"),
    "events_client.jsonl": CctfFile(ClientEvent, "ts_enqueue"),
    "placement_events.jsonl": CctfFile(PlacementEvent, "ts"),
    "system_stats.jsonl": CctfFile(SystemStat, "ts_ms"),
    "rejected.jsonl": CctfFile(Rejected),
}
