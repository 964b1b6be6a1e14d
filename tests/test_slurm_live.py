"""The Slurm adapter against a real cluster of one node on loopback: every job once, at its own times."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import Server
from conftest import Checkout, clean_environment, need
from loopback import free_port, wait_for

PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
PATH = f"{os.environ['PATH']}:/usr/sbin"
CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={dir}/munge.socket
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.pid
SlurmctldPort={one}
SlurmdPort={other}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobCompType=jobcomp/filetxt
JobCompLoc={dir}/jobcomp.txt
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=cn1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=p Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
JOB = """#!/bin/bash
began=$EPOCHREALTIME
sleep $2
read -r _ waited_ns _ </proc/$$/schedstat
echo "$1 $began $EPOCHREALTIME $waited_ns" >>truth
exit $3
"""
JOBS = {"plain": ("1.2", "0"), "a|b c": ("0.3", "3"), "third": ("0", "0")}  # name: seconds, exit code


class Slurm:
    """A cluster: jobs run one after the other."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.folder, self.env = folder, clean_environment(SLURM_CONF=str(folder / "slurm.conf"))
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "key").write_bytes(secrets.token_bytes(1024))
        (folder / "key").chmod(0o600)
        (folder / "job.sh").write_text(JOB)
        host = socket.gethostname().split(".")[0]
        conf = CONF.format(dir=folder, host=host, one=free_port(), other=free_port())
        (folder / "slurm.conf").write_text(conf)
        munge = [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed")]
        key = [f"--key-file={folder}/key", f"--socket={folder}/munge.socket"]
        self._start(processes, "munged", "--foreground", "--force", *munge, *key)
        wait_for((folder / "munge.socket").exists, "munged listens")
        control = self._start(processes, "slurmctld", "-D")
        wait_for(lambda: b" is UP" in self.run("scontrol", "ping"), "slurmctld answers", 60)
        self.daemons = [control, self._start(processes, "slurmd", "-D", "-N", "cn1")]
        wait_for(lambda: b"idle" in self.run("sinfo", "-h", "-o", "%t"), "the node is idle", 90)

    def _start(self, processes: ExitStack, name: str, *words: str) -> "subprocess.Popen[bytes]":
        log = processes.enter_context((self.folder / f"{name}.out").open("wb"))
        program = shutil.which(name, path=PATH)
        process = subprocess.Popen(
            [str(program), *words], env=self.env, cwd=self.folder, stdout=log, stderr=log
        )
        processes.callback(process.wait)
        processes.callback(process.terminate)
        return process

    def run(self, *command: str) -> bytes:
        return subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, check=False).stdout


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    for name, package in PROGRAMS.items():
        need(shutil.which(name, path=PATH), f"{name} (package {package})")
    need(os.geteuid() == 0, "Slurm's daemons need root")
    with ExitStack() as processes:
        yield Slurm(tmp_path_factory.mktemp("slurm"), processes)


def test_every_job_is_there_once_at_its_own_times(checkout: Checkout, slurm: Slurm) -> None:
    submitted: dict[str, tuple[float, float]] = {}
    for name, words in JOBS.items():
        before = time.time()
        assert slurm.run("sbatch", "--parsable", "-J", name, "job.sh", name.split("|")[0], *words)
        submitted[name] = (before, time.time())
    cancelled = slurm.run("sbatch", "--parsable", "--hold", "job.sh", "never", "0", "0").decode().strip()
    slurm.run("scancel", cancelled)
    log = slurm.folder / "jobcomp.txt"
    wait_for(lambda: log.read_bytes().count(b"\n") == len(JOBS) + 1, "all jobs are told of", 90)
    late_ms = 1000 + sum(Server(daemon.pid).held_up_ms() for daemon in slurm.daemons)
    truths = dict(line.split(" ", 1) for line in (slurm.folder / "truth").read_text().splitlines())
    zone = time.strftime("%z")
    words = ["SOURCE=slurm", "RUN_ID=slurm", "NODE_ID=n1", f"IN='{log}'", f"ADAPT_OPTIONS=--zone {zone}"]
    done = checkout.make("adapt", *words)
    assert done.returncode == 0, done.stderr
    text = (checkout.logs("slurm") / "invocations.slurm.jsonl").read_bytes()
    rows = {row["module_id"]: row for row in map(json.loads, text.splitlines())}
    assert rows.keys() == JOBS.keys()
    ends = [0]
    for name, (_, code) in JOBS.items():
        row = rows[name]
        began, ended, waited_ns = map(float, truths[name.split("|")[0]].split())
        near_ms = late_ms + waited_ns / 1e6
        for stamp, truth in ((row["ts_start"], began), (row["ts_end"], ended)):  # a stamp is a whole second
            assert stamp - near_ms <= truth * 1000 <= stamp + 999 + near_ms
        assert submitted[name][0] * 1000 - 1000 <= row["ts_enqueue"] <= submitted[name][1] * 1000
        assert (row["status"], row["node"], row["queue_source"]) == (int(code), "cn1", "submit")
        assert row["ts_start"] >= ends[-1]  # one after the other: the others queued
        ends.append(row["ts_end"])
