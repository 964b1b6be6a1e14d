"""A container by its cgroup: on made trees of every kind, with engines that fail, hang or answer late."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import T0, parsed, quality_of, rows_of
from test_sampler import Recording, fake_process, tick

from tracekit.collect.proc.cgroup import container_paths
from tracekit.collect.proc.engine import Engines
from tracekit.collect.proc.target import Target

ID = "3f" * 32
OTHER = "ab" * 32
MAX_V1 = 9223372036854771712  # memory.limit_in_bytes of a cgroup without a limit, pages of 4096 bytes

# What engines and runtimes write; %s is the id.
PATHS = {
    "docker, cgroupfs": "/docker/%s",
    "docker, systemd": "/system.slice/docker-%s.scope",
    "docker in docker": f"/docker/{OTHER}/docker/%s",
    "docker, own parent": "/jobs/team/%s",
    "nerdctl, systemd": "/system.slice/nerdctl-%s.scope",
    "podman, systemd": "/machine.slice/libpod-%s.scope/container",
    "podman, cgroupfs": "/libpod_parent/libpod-%s",
    "podman, rootless": "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-%s.scope/container",
    "podman, split": "/system.slice/web.service/libpod-payload-%s",
    "kubernetes, cgroupfs": "/kubepods/besteffort/pod1b2c/%s",
    "kubernetes, systemd": "/kubepods.slice/kubepods-pod1b2c.slice/cri-containerd-%s.scope",
    "kubernetes, CRI-O": "/kubepods.slice/kubepods-pod1b2c.slice/crio-%s.scope",
    "containerd, names mixed up": "/system.slice/containerd.service/kubepods-pod1b2c.slice:cri-containerd:%s",
}
NEIGHBOURS = (
    "/",
    f"/docker/{OTHER}",
    f"/docker/{ID}0",
    f"/docker/0{ID}",
    f"/docker/{ID[:-1]}",
    f"/machine.slice/libpod-conmon-{ID}.scope",
    f"/system.slice/backup-of-{ID}.service",
    f"/system.slice/docker-{ID}.scope.d",
    f"/system.slice/docker-{ID}.mount",
    f"/docker/{ID}.old/init.scope",
)
LAYOUTS: dict[str, Callable[[str], str]] = {
    "v1": lambda path: f"12:pids:{path}\n11:cpu,cpuacct:{path}\n7:memory:{path}\n1:name=systemd:{path}\n",
    "v2": lambda path: f"0::{path}\n",
    "hybrid": lambda path: f"4:memory:{path}\n2:cpuacct:{path}\n1:cpu:{path}\n0::{path}\n",
    "hybrid, v2 for systemd alone": lambda path: f"2:cpu,cpuacct:{path}\n1:name=systemd:/\n0::/\n",
}


def sampled(root: Path) -> set[int]:
    where = Target("", "svc", lambda _pid, _ppid: False, lambda _name: ID, str(root))
    recording = Recording(where, root=str(root))
    tick(recording, 0)
    return {row["pid"] for row in recording.rows()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", PATHS)
def test_every_kind_of_cgroup_gives_the_same_processes(tmp_path: Path, kind: str, layout: str) -> None:
    own, membership = PATHS[kind] % ID, LAYOUTS[layout]
    fake_process(tmp_path, 101, "init", cgroup=membership(own))
    fake_process(tmp_path, 102, "nested", cgroup=membership(f"{own}/init.scope"))
    fake_process(tmp_path, 103, "deep", cgroup=membership(f"{own}/a/b"))
    for pid, path in enumerate(NEIGHBOURS, 200):
        fake_process(tmp_path, pid, "neighbour", cgroup=membership(path))
    assert sampled(tmp_path) == {101, 102, 103}


@pytest.mark.parametrize("kind", PATHS)
def test_the_containers_own_cgroup_ends_with_its_name(kind: str) -> None:
    own = (PATHS[kind] % ID).removesuffix("/container")
    text = f"3:cpu,cpuacct:{own}/init.scope\n1:name=systemd:/elsewhere\n0::{own} (deleted)\n"
    assert container_paths(text.encode(), ID) == {"cpu": own, "cpuacct": own, "": own}


# --- figures


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


V1_CPU = {"cpuacct__usage": "1104884661\n", "cpuacct__stat": "user 100\nsystem 10\n"}
V1_THROTTLING = {"cpu__stat": "nr_periods 50\nnr_throttled 7\nthrottled_time 345678901\n"}
V2_CPU = {"cpu__stat": "usage_usec 1104884\nuser_usec 1000000\nsystem_usec 100000\n"}
V2_CPU_LIMITED = {"cpu__stat": V2_CPU["cpu__stat"] + "nr_periods 50\nnr_throttled 7\nthrottled_usec 345678\n"}
ALL = {
    "container": ID,
    "usage_us": 1104884,
    "user_us": 1000000,
    "system_us": 100000,
    "nr_periods": 50,
    "nr_throttled": 7,
    "throttled_us": 345678,
    "mem_bytes": 3166208,
    "mem_limit_bytes": 104857600,
}
NO_THROTTLING = {"nr_periods": None, "nr_throttled": None, "throttled_us": None}


def mounts(root: Path, *points: tuple[str, str, str]) -> None:
    """self/mountinfo of a made /proc; points: (folder below root, file system, its own options)."""
    lines = [
        f"31 23 0:28 / {root}/{folder} rw - {kind} {kind} {options}\n" for folder, kind, options in points
    ]
    write(root / "self", mountinfo="23 1 8:1 / / rw shared:1 - ext4 /dev/root rw\n" + "".join(lines))


def v1(root: Path, path: str) -> str:
    mounts(
        root,
        ("fs/cpu", "cgroup", "rw,cpu,cpuacct"),
        ("fs/memory", "cgroup", "rw,memory"),
        ("fs/freezer", "cgroup", "rw,freezer"),
    )
    write(root / f"fs/cpu{path}", **V1_CPU, **V1_THROTTLING)
    write(root / f"fs/memory{path}", memory__usage_in_bytes="3166208\n", memory__limit_in_bytes="104857600\n")
    write(root / f"fs/freezer{path}", freezer__state="THAWED\n")
    return f"5:freezer:{path}\n4:memory:{path}\n2:cpu,cpuacct:{path}\n"


def v2(root: Path, path: str) -> str:
    mounts(root, ("fs", "cgroup2", "rw,nsdelegate"))
    write(root / f"fs{path}", **V2_CPU_LIMITED, memory__current="3166208\n", memory__max="104857600\n")
    write(root / f"fs{path}", cgroup__freeze="0\n")
    return f"0::{path}\n"


def hybrid(root: Path, path: str) -> str:
    """Memory and throttling in version 1, CPU of the whole in version 2, as where cpuacct is not mounted."""
    mounts(
        root,
        ("fs/cpu", "cgroup", "rw,cpu"),
        ("fs/memory", "cgroup", "rw,memory"),
        ("fs/freezer", "cgroup", "rw,freezer"),
        ("fs/unified", "cgroup2", "rw"),
    )
    write(root / f"fs/cpu{path}", **V1_THROTTLING)
    write(root / f"fs/memory{path}", memory__usage_in_bytes="3166208\n", memory__limit_in_bytes="104857600\n")
    write(root / f"fs/freezer{path}", freezer__state="THAWED\n")
    write(root / f"fs/unified{path}", **V2_CPU, cgroup__freeze="0\n")
    return f"6:freezer:{path}\n4:memory:{path}\n1:cpu:{path}\n0::{path}\n"


TREES = {
    "v1": (v1, "/docker/%s"),
    "v2": (v2, "/system.slice/docker-%s.scope"),
    "hybrid": (hybrid, "/docker/%s"),
}


def in_tree(root: Path, name: str) -> Recording:
    make, path = TREES[name]
    fake_process(root, 101, "inside", cgroup=make(root, path % ID))
    return Recording(
        Target("", "svc", lambda _pid, _ppid: False, lambda _name: ID, str(root)), root=str(root)
    )


@pytest.mark.parametrize("name", TREES)
def test_figures_are_the_same_in_every_kind_of_cgroup(tmp_path: Path, name: str) -> None:
    recording = in_tree(tmp_path, name)
    for second in range(2):
        tick(recording, second)
    rows = recording.told("cgroup_metrics.jsonl")
    stamps = [{"ts_ms": T0 + second * 1000, "mono_ms": 10_000 + second * 1000} for second in range(2)]
    assert rows == [{**ALL, **stamp} for stamp in stamps]
    container = recording.sampler._target.container
    assert container is not None
    assert container.usage_us() == ALL["usage_us"]


def test_what_a_cgroup_does_not_count_is_null_and_no_limit_is_none(tmp_path: Path) -> None:
    recording = in_tree(tmp_path / "v1", "v1")
    (tmp_path / f"v1/fs/memory/docker/{ID}/memory.limit_in_bytes").write_text(f"{MAX_V1}\n")
    tick(recording, 0)
    (row,) = recording.told("cgroup_metrics.jsonl")
    assert row == {**ALL, "mem_limit_bytes": None, "ts_ms": T0, "mono_ms": 10_000}
    recording = in_tree(tmp_path / "v2", "v2")
    folder = tmp_path / f"v2/fs/system.slice/docker-{ID}.scope"
    write(folder, memory__max="max\n", **V2_CPU)
    (folder / "memory.current").unlink()
    tick(recording, 0)
    (row,) = recording.told("cgroup_metrics.jsonl")
    nothing = {**NO_THROTTLING, "mem_bytes": None, "mem_limit_bytes": None}
    assert row == {**ALL, **nothing, "ts_ms": T0, "mono_ms": 10_000}


def marks(recording: Recording) -> list[tuple[object, ...]]:
    """(kind, reason, from, to) of the container's marks, in s after the first tick."""
    told = [mark for mark in recording.told("marks.jsonl") if str(mark["kind"]).startswith("container_")]

    def second(value: object) -> float | None:
        return None if value is None else (int(str(value)) - T0) / 1000

    return [(mark["kind"], mark["reason"], second(mark["from_ms"]), second(mark["to_ms"])) for mark in told]


@pytest.mark.parametrize(
    ("name", "file", "paused"), [("v1", "freezer.state", "FROZEN\n"), ("v2", "cgroup.freeze", "1\n")]
)
def test_a_pause_is_a_mark_at_its_begin_and_at_its_end(
    tmp_path: Path, name: str, file: str, paused: str
) -> None:
    recording = in_tree(tmp_path, name)
    (state,) = tmp_path.rglob(file)
    thawed = state.read_text()
    for second, text in enumerate([thawed, paused, paused, thawed, thawed]):
        state.write_text(text)
        tick(recording, second)
    assert marks(recording) == [
        ("container_found", None, None, 0),
        ("container_paused", None, 1, None),
        ("container_resumed", None, 1, 3),
    ]
    assert len(recording.rows()) == 5  # a paused container is still sampled


def remove(root: Path, pid: int) -> None:
    for path in (root / str(pid)).iterdir():
        path.unlink()
    (root / str(pid)).rmdir()


def without_cgroups(root: Path, known: Callable[[], str | None]) -> Recording:
    where = Target("", "svc", lambda _pid, _ppid: False, lambda _name: known(), str(root))
    return Recording(where, root=str(root))


def test_another_container_of_the_same_name_is_followed_without_refresh(tmp_path: Path) -> None:
    ids = [ID]
    recording = without_cgroups(tmp_path, lambda: ids[0])
    fake_process(tmp_path, 1, "first", cgroup=f"0::/docker/{ID}\n")
    fake_process(tmp_path, 2, "second", cgroup=f"0::/docker/{OTHER}\n", starttime=100)
    for second in range(5):  # so long that the second one was looked at for the last time
        tick(recording, second)
    remove(tmp_path, 1)
    recording.sampler._forget(recording.sampler._processes[1])  # an open file outlives its directory here
    ids[0] = OTHER
    tick(recording, 5)
    assert [row["pid"] for row in recording.rows()] == [1, 1, 1, 1, 1, 2]
    assert [row["container"] for row in recording.told("proc_inventory.jsonl") if row["event"] == "seen"] == [
        ID,
        OTHER,
    ]


def test_a_container_that_comes_late_is_found_and_its_later_processes_for_three_seconds(
    tmp_path: Path,
) -> None:
    ids: list[str | None] = [None]
    recording = without_cgroups(tmp_path, lambda: ids[0])
    for second in range(4):
        tick(recording, second)
    ids[0] = ID
    fake_process(
        tmp_path, 1, "init", cgroup=f"0::/docker/{ID}\n", starttime=1390
    )  # 3.9 s after the first tick
    tick(recording, 4)
    fake_process(tmp_path, 2, "worker", cgroup=f"0::/docker/{ID}\n", starttime=1550)
    tick(recording, 6)
    tick(recording, 7)
    fake_process(tmp_path, 3, "later", cgroup=f"0::/docker/{ID}\n", starttime=1750)
    tick(recording, 8)
    assert marks(recording) == [
        ("container_absent", "never seen", 0, None),
        ("container_found", None, 0, 4),
    ]
    assert {row["pid"] for row in recording.rows()} == {1, 2}
    assert recording.said == [
        "container svc is not there; looking for it each second",
        f"container svc is there: {ID}",
    ]


def test_a_container_that_never_came_is_told_at_the_end(tmp_path: Path) -> None:
    recording = without_cgroups(tmp_path, lambda: None)
    waits = iter(["tick", "tick", "end"])
    recording.sampler.run(lambda _seconds: next(waits))
    told = recording.told("marks.jsonl")[-1]
    assert (told["kind"], told["reason"], told["detail"]) == (
        "container_absent",
        "never seen",
        "container svc",
    )
    assert told["to_ms"] is not None
    assert recording.said[-1] == "container svc never came: no process of it was sampled"


# --- engines


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def fakebin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fakebin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/nonexistent")
    return folder


def answer_of(engines: Engines, name: str = "svc", within_s: float = 5) -> str | None:
    """The answer as soon as there is one; each question is asked for by a call that does not wait."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        began = time.monotonic()
        found = engines(name)
        assert time.monotonic() - began < 0.5
        if found:
            return found
        time.sleep(0.02)
    return None


def test_docker_is_asked_by_name(fakebin: Path) -> None:
    program(fakebin, "docker", f'[ "$6" = svc ] && echo {ID}')
    said: list[str] = []
    assert answer_of(Engines(said.append)) == ID
    assert said == []


def test_podman_is_asked_where_docker_fails_and_the_failure_is_said_once(fakebin: Path) -> None:
    program(fakebin, "docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    program(fakebin, "podman", f"echo warning >&2; echo {ID}")
    said: list[str] = []
    engines = Engines(said.append)
    for _ in range(3):
        assert answer_of(engines) == ID
    assert said == ["docker does not tell of container svc: Cannot connect to the Docker daemon"]


@pytest.mark.parametrize("words", ["Error: No such container: svc", 'Error: no such container "svc"'])
def test_a_container_that_does_not_exist_is_no_failure_of_the_engine(fakebin: Path, words: str) -> None:
    program(fakebin, "docker", f"echo '{words}' >&2; exit 1")
    said: list[str] = []
    assert answer_of(Engines(said.append), within_s=0.5) is None
    assert said == []


def test_an_engine_that_hangs_holds_no_tick_up(fakebin: Path) -> None:
    program(fakebin, "docker", "exec /bin/sleep 3")
    assert answer_of(Engines(lambda _text: None), within_s=1) is None


def test_a_full_id_needs_no_engine(fakebin: Path) -> None:
    program(fakebin, "docker", f"touch {fakebin}/asked")
    assert Engines(print)(ID) == ID
    assert not (fakebin / "asked").exists()


def test_an_engine_that_fails_later_does_not_take_away_what_is_known(tmp_path: Path) -> None:
    answers: list[str | None] = [ID, None, None, None]
    recording = without_cgroups(tmp_path, lambda: answers.pop(0) if answers else None)
    tick(recording, 0)  # it is known, and has no process yet
    fake_process(tmp_path, 1, "inside", cgroup=f"0::/docker/{ID}\n")
    tick(recording, 1)
    assert {row["pid"] for row in recording.rows()} == {1}


# --- parse


def test_rows_pass_into_the_trace_with_the_node_and_a_bad_one_is_rejected(tmp_path: Path) -> None:
    good = {"ts_ms": T0 + 1000, **ALL, "mono_ms": 51_000}
    bad = {**good, "usage_us": -1}
    missing = {key: value for key, value in good.items() if key != "container"}
    run = parsed(
        tmp_path,
        {"cgroup_metrics.jsonl": [good, bad, missing, {**good, "ts_ms": T0, "mem_limit_bytes": None}]},
    )
    rows = rows_of(run, "cgroup_metrics.jsonl")
    assert [row["ts_ms"] for row in rows] == [T0, T0 + 1000]
    assert rows[1] == {**good, "node": "vm1"}
    assert quality_of(run)["inputs"]["cgroup_metrics.jsonl"] == {
        "lines": 4,
        "accepted": 2,
        "rejected": {"type": 2},
        "duplicates": 0,
    }
    assert [row["line"] for row in rows_of(run, "rejected.jsonl")] == [2, 3]


def test_marks_of_the_container_are_in_quality_json(tmp_path: Path) -> None:
    told = {
        "collector": "proc",
        "kind": "container_restart",
        "reason": "same id",
        "detail": "container svc: 3f",
    }
    stamp = {"ts_ms": T0 + 3000, "mono_ms": 53_000, "from_ms": T0 + 2000, "to_ms": T0 + 3000}
    run = parsed(tmp_path, {"marks.jsonl": json.dumps({**stamp, **told}).encode() + b"\n"})
    assert quality_of(run)["marks"] == [
        {"ts_ms": T0 + 3000, "kind": "container_restart", "detail": "proc: same id: container svc: 3f"}
    ]
