"""Which machine this is, and what its NIC and its route to the peer are. Unknown is None, never a guess."""

import hashlib
import ipaddress
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tracekit import ROOT, units
from tracekit.errors import TracekitError
from tracekit.settings import NAME, Settings

_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _cpuinfo(field: str) -> str | None:
    found = re.search(rf"^{field}\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")) or "", re.MULTILINE)
    return found.group(1).strip() if found else None


def default_node_id() -> str:
    """The short host name. Raises TracekitError where it cannot name a node."""
    name = socket.gethostname().split(".")[0]
    if not NAME.fullmatch(name):
        raise TracekitError(f"host name {name!a} cannot name a node; give NODE_ID=")
    return name


def cpu_freq() -> dict[str, object]:
    """{cpu_freq_mhz, cpu_freq_source}: nominal, else maximum, else current clock, else both None.

    Source: Documentation/admin-guide/pm/intel_pstate (base_frequency, kHz), cpufreq (kHz)."""
    for file, source in (("base_frequency", "nominal"), ("cpuinfo_max_freq", "max")):
        khz = _text(_CPUFREQ / file)
        if khz and khz.isdigit() and int(khz) > 0:
            return {"cpu_freq_mhz": round(int(khz) / 1000), "cpu_freq_source": source}
    current = _cpuinfo("cpu MHz")
    if current:
        return {"cpu_freq_mhz": round(float(current)), "cpu_freq_source": "current"}
    return {"cpu_freq_mhz": None, "cpu_freq_source": None}


def _machine_id_hash() -> str | None:
    """Tells one machine from another without giving its id away, as machine-id(5) asks."""
    machine_id = _text(Path("/etc/machine-id"))
    return hashlib.sha256(f"tracekit:{machine_id}".encode()).hexdigest() if machine_id else None


def _boot_id() -> str | None:
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def is_of_this_boot(node_meta: Mapping[str, Any]) -> bool:
    """Whether the monotonic clock is still the one of that node_meta.json, as far as it tells."""
    return node_meta.get("boot_id") in (None, _boot_id())


def node_facts() -> dict[str, object]:
    """The fields of node_meta.json that describe the machine itself."""
    return {
        "host": socket.gethostname(),
        "cpu_cores": psutil.cpu_count(logical=True),
        "mem_mb": units.bytes_to_mb(psutil.virtual_memory().total),
        "cpu_model": _cpuinfo("model name"),
        **cpu_freq(),
        "boot_id": _boot_id(),
        "machine_id_hash": _machine_id_hash(),
        "kernel": platform.release(),
        "clk_tck": os.sysconf("SC_CLK_TCK"),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
    }


def git_sha() -> str | None:
    """The commit of this checkout; None without git."""
    if not (ROOT / ".git").exists():  # a copy inside another repository has none of its own
        return None
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _ip_json(*arguments: str) -> list[dict[str, object]]:
    command = ["ip", "-j", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    try:
        value = json.loads(done.stdout or "[]")
    except ValueError:
        return []
    return [entry for entry in value if isinstance(entry, dict)]


def _routed_nic(settings: Settings) -> str:
    peer = settings["VM_IP"]
    if peer:
        routes = _ip_json("route", "get", peer)
        why = f"no route to VM_IP={peer}"
    else:
        routes = _ip_json("route", "show", "default") or _ip_json("-6", "route", "show", "default")
        routes.sort(key=lambda route: int(str(route.get("metric", 0))))
        why = "no default route"
    for route in routes:
        hops = route.get("nexthops")  # several at one metric: the first
        dev = hops[0].get("dev") if isinstance(hops, list) and hops else route.get("dev")
        if isinstance(dev, str):
            return dev
    raise TracekitError(f"{why}: name the NIC with IFACE= (there are {', '.join(nics())})")


def nics() -> list[str]:
    """The network interfaces of this network namespace."""
    return sorted(name for _, name in socket.if_nameindex())


def find_nic(settings: Settings) -> str:
    """IFACE, else the NIC of the route to VM_IP, else the default route's (least metric).

    Raises TracekitError where there is no such NIC or no such route."""
    nic = settings["IFACE"] or _routed_nic(settings)
    if nic not in nics():
        raise TracekitError(f"IFACE={nic}: no such network interface (there are {', '.join(nics())})")
    return nic


def bandwidth_bps(nic: str, settings: Settings) -> int:
    """BW_BPS where given, else the NIC's own speed, bits a second; 0 = unknown."""
    if settings["BW_BPS"]:
        return int(settings["BW_BPS"])
    known = psutil.net_if_stats().get(nic)
    return units.mbit_to_bps(known.speed) if known else 0


def _is_local(address: str) -> bool:
    wanted = ipaddress.ip_address(address)
    if wanted.is_loopback:
        return True
    own = {entry.address.split("%")[0] for nic in psutil.net_if_addrs().values() for entry in nic}
    return str(wanted) in own


def propagation_s(peer: str) -> float | None:
    """Half of the least round trip of five pings to peer, seconds; None for this machine or no answer."""
    if not peer or _is_local(peer):
        return None
    command = ["ping", "-n", "-q", "-c", "5", "-i", "0.2", "-W", "1", peer]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
    )
    found = re.search(r"min/avg/max/\S+ = ([0-9.]+)/", done.stdout)
    return round(float(found.group(1)) / 2000, 9) if found else None


def link_facts(nic: str, settings: Settings) -> dict[str, object]:
    """link_meta.json: the NIC, its bandwidth, the delay to the peer."""
    peer = settings["VM_IP"] or None
    return {
        "iface": nic,
        "BW_bps": bandwidth_bps(nic, settings),
        "PR_s": propagation_s(settings["VM_IP"]),
        "peer": peer,
    }
