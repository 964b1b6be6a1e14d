"""The .json files of a merge, from those of its members. What a record does not know stays as it came."""

from collections.abc import Iterable, Sequence
from typing import Any

from tracekit.merge.choosing import Member

Json = dict[str, Any]


def nodes_of(members: Iterable[Member]) -> list[Json]:
    """nodes.json: every node, by name."""
    return [member.document for member in members]


def links_of(members: Sequence[Member]) -> list[Json]:
    """links.json: every link once, by name; of one that two members name, the first one's.

    A pair that both ends measured is one link, from the lesser name to the greater, with the lesser delay."""
    found: dict[str, Json] = {}
    for member in members:
        for link in member.source.document("links.json") or []:
            found.setdefault(link["link"], link)
    for name in sorted(found):
        u, dashes, v = name.partition("--")
        if dashes and u > v and f"{v}--{u}" in found:
            other = found.pop(name)
            pair = found[f"{v}--{u}"]
            delays = [one["PR_s"] for one in (pair, other) if one["PR_s"] is not None]
            pair["PR_s"] = min(delays, default=None)
    return [found[name] for name in sorted(found)]


def modules_of(members: Sequence[Member]) -> Json | list[Json] | None:
    """module_inventory.json: the union by (app_id, module_id); an array where there are several apps.

    Of a module that two members tell, what the first one knows. None where nobody has such a file."""
    inventories = [one for member in members if (one := member.source.document("module_inventory.json"))]
    apps: dict[str | None, dict[str, Json]] = {}
    for inventory in inventories:
        modules = apps.setdefault(inventory.get("app_id"), {})
        for module in inventory.get("modules", []):
            known = modules.setdefault(module["module_id"], {})
            known.update({key: value for key, value in module.items() if known.get(key) is None})
    told = [
        {"app_id": app, "modules": [modules[name] for name in sorted(modules)]}
        for app, modules in sorted(apps.items(), key=lambda item: (item[0] is None, item[0] or ""))
        if modules or app is not None
    ]
    if not inventories:
        return None
    if not told:
        return {"app_id": None, "modules": []}
    return told[0] if len(told) == 1 else told


def runs_of(members: Iterable[Member]) -> list[Json]:
    """run_meta.json: an array, one a node."""
    documents = ((member.node, member.source.document("run_meta.json")) for member in members)
    return [{**document, "node": node} for node, document in documents if document]


def qualities_of(members: Iterable[Member]) -> Json:
    """The account of each node."""
    return {member.node: member.source.document("quality.json") for member in members}
