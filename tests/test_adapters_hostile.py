"""Every adapter on damaged input: it never breaks off, and writes nothing that is no record."""

import importlib.util
import json
import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.adapt.adapter import Adapter
from tracekit.adapt.reading import split
from tracekit.adapt.sink import Sink
from tracekit.records import Invocation, PlacementEvent
from tracekit.settings import SETTINGS

FIXTURES = sorted((ROOT / "tests" / "fixtures" / "adapters").glob("*.in"))
MODULES: dict[str, type[Adapter]] = {}


def adapter_of(source: str) -> type[Adapter]:
    if source not in MODULES:
        path = ROOT / "tools" / "adapters" / f"{source}.py"
        spec = importlib.util.spec_from_file_location(f"hostile_{source}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        MODULES[source] = next(
            one
            for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, Adapter) and one.__module__ == spec.name
        )
    return MODULES[source]


class Kept:
    """Lines that were added."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, lines: list[bytes]) -> None:
        self.lines += lines


def run(source: str, data: bytes) -> tuple[Sink, dict[str, Kept]]:
    kind = adapter_of(source)
    parser = ArgumentParser()
    kind.add_options(parser)
    options = parser.parse_args([])
    options.settings = {one.name: one.default for one in SETTINGS}
    files = {name: Kept() for name in ("invocations", "placement", "rejected")}
    sink = Sink(source, "n1", "edge", dict(files))
    adapter = kind(Namespace(**vars(options)), sink)
    adapter.begin("salt")
    size = max(len(data), 1) if kind.is_whole else 512
    chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
    for block in split(chunks, "x"):
        adapter.take(block)
    adapter.finish()
    return sink, files


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_input_gives_records_or_rejects_and_nothing_else(path: Path, data: st.DataObject) -> None:
    text = bytearray(path.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        what = data.draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"\0", b"\xff", b"9" * 30, b"-", b"null", b"\t", b"[1]"])
        )
        text[at : at + data.draw(st.integers(0, 8))] = what
    sink, files = run(path.name.split("--")[0], bytes(text))
    decoder = msgspec.json.Decoder(Invocation)
    for line in files["invocations"].lines:
        record = decoder.decode(line)
        for duration in (record.queue_time_ms, record.service_time_ms, record.rt_ms):
            assert duration is None or duration >= 0
    for line in files["placement"].lines:
        msgspec.json.decode(line, type=PlacementEvent)
    assert sink.account.taken == len(files["invocations"].lines)
    assert sink.account.rejected.total() == len(files["rejected"].lines)


@pytest.mark.parametrize("source", sorted({path.name.split("--")[0] for path in FIXTURES}))
@given(lines=st.lists(st.binary(max_size=80), max_size=5))
def test_junk_is_no_record(source: str, lines: list[bytes]) -> None:
    sink, files = run(source, b"\n".join(lines))
    assert files["invocations"].lines == []
    assert all(json.loads(line)["reason"] for line in files["rejected"].lines)
    assert sink.account.taken == 0


def test_values_of_any_type_in_json_are_no_exception() -> None:
    odd: list[Any] = [None, 1, "x", [], {}, [1], {"a": 1}, True, 1e300, -5]
    for source in ("otlp", "jaeger", "zipkin", "kubernetes", "slurm", "celery", "envoy"):
        fixture = next(
            path for path in FIXTURES if path.name.startswith(source) and "{" in path.read_text()[:9000]
        )
        text = fixture.read_text()
        for key in set(re.findall(r'"(\w+)":', text)):
            for value in odd:
                pattern = rf'"{key}": ?(?:"[^"]*"|[\d.]+|\[[^\[\]]*\]|\{{[^{{}}]*\}}|null|true|false)'
                changed = re.sub(pattern, f'"{key}":{json.dumps(value)}', text)
                run(source, changed.encode())
