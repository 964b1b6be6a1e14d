#!/usr/bin/env python3
# Summary: pods of Kubernetes: one invocation for each ended run of a container; placement events.
# Usage: tools/adapters/kubernetes.py [--run-id RUN] pods.json
#        kubectl get pods -A -o json >pods.json; make adapt SOURCE=kubernetes IN=pods.json RUN_ID=run1
# In:  {"kind":"List","items":[{"kind":"Pod","metadata":{...},"status":{"containerStatuses":[...]}}]}
# Out: {"ts_enqueue":<created>,"ts_start":<startedAt>,"ts_end":<finishedAt>,"status":<exitCode>,...}
# Source: Kubernetes API, core/v1 Pod, ContainerStatus, ContainerStateTerminated.
"""A pod's first run is queued from its creation on; a restart when it starts, for nobody tells of more.

Times are whole seconds. A list, one object, or objects one after another (kubectl get -w -o json) are read;
what is there several times counts once. Of a container that was restarted, the last run and the one before
are known. Init containers and running ones are no invocations.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import hashed
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.settings import NAME

Json = dict[str, Any]
_APP_LABELS = ("app.kubernetes.io/name", "app", "batch.kubernetes.io/job-name", "job-name")


class Kubernetes(Adapter):
    """Pods in documents."""

    is_whole: ClassVar[bool] = True

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._seen: set[str] = set()

    def take(self, block: Block) -> None:
        text = block.data.decode("utf-8", "replace")
        for line, document in _documents(text):
            kept = json.dumps(document).encode()
            self.sink.attempt(block.file, line, kept, partial(self._document, block.file, line, document))

    def _document(self, file: str, line: int, document: Any) -> None:
        for pod in _flat(document):
            self.sink.attempt(file, line, json.dumps(pod).encode(), partial(self._pod, file, line, pod))

    def _pod(self, file: str, line: int, pod: Json) -> None:
        status = pod.get("status") or {}
        statuses = status.get("containerStatuses") or []
        if not statuses:
            self.sink.account.skipped["pods without a container"] += 1
        for one in statuses:
            restarts = int(one.get("restartCount") or 0)
            known = ((restarts, one.get("state")), (restarts - 1, one.get("lastState")))
            for number, state in known:
                take = partial(self._run, pod, one, number, (state or {}).get("terminated"))
                self.sink.attempt(file, line, json.dumps(one).encode(), take)

    def _run(self, pod: Json, container: Json, number: int, ended: Json | None) -> None:
        if ended is None or number < 0:
            if number == int(container.get("restartCount") or 0):
                raise SkippedError("containers that run or wait", "no end yet")
            return
        meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        uid, name = str(meta.get("uid") or meta.get("name")), str(container.get("name"))
        span = hashed("kubernetes", uid, name, number)
        if span in self._seen:
            return
        start_us, end_us = (times.iso_us(str(ended.get(key))) for key in ("startedAt", "finishedAt"))
        queued_us = times.iso_us(str(meta.get("creationTimestamp"))) if number == 0 else None
        stamps = times.spans(start_us, end_us, queued_us)
        labels = meta.get("labels") or {}
        module = next((labels[key] for key in _APP_LABELS if labels.get(key)), name)
        node = str(spec.get("nodeName") or "")
        placed = {"node": node} if NAME.fullmatch(node) else {}
        self.sink.add(
            trace_id=hashed("kubernetes", uid, digits=32), span_id=span, **stamps, **placed, module_id=module,
            instance_id=meta.get("name"), status=ended.get("exitCode"), signal=ended.get("signal") or None,
            attempt=number + 1, task_id=uid, queue_source="creationTimestamp" if number == 0 else None,
        )  # fmt: skip
        self._seen.add(span)
        for key, event in (("ts_start", "start"), ("ts_end", "stop")):
            where = {"node_id": node} if placed else {}
            self.sink.place(stamps[key], event, module_id=module, instance_id=meta.get("name"), **where)


def _documents(text: str) -> Iterator[tuple[int, Any]]:
    """Every JSON document of a text, and the line on which it begins; None for a rest that is none."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        line = text.count("\n", 0, at) + 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value, at = None, len(text)
        yield line, value


def _flat(value: Any) -> Iterator[Json]:
    """The pods of a list, of a watch event, or the pod itself. Raises NotTakenError for anything else."""
    if not isinstance(value, dict):
        raise NotTakenError("json", "what follows is no JSON object")
    if isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _flat({"kind": "Pod", **item} if isinstance(item, dict) else item)
    elif isinstance(value.get("object"), dict):
        yield from _flat(value["object"])
    elif value.get("kind") == "Pod":
        yield value
    else:
        raise NotTakenError("kind", f"the document is a {value.get('kind')!a}, no Pod")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some pods."""
    return cli_adapt.main(__doc__ or "", Kubernetes, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
