"""docs/cctf.md and docs/schema/ say what tracekit.records says: the page's tables field by field, the
schemas as they are generated today, and a few records for which schema and decoding must agree.
"""

import json
import types
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from jsonschema import Draft202012Validator

from tracekit import ROOT
from tracekit.records import FILES, Record
from tracekit.schema import schemas

PAGE = ROOT / "docs" / "cctf.md"
SCHEMA_DIR = ROOT / "docs" / "schema"
HEADER = ["field", "type", "unit", "null?", "meaning / source"]
TYPE_NAMES: dict[Any, str] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    dict: "object",
    list: "array",
}


class Row(NamedTuple):
    """What the page and the code both say of a field."""

    field: str
    type: str
    null: str


# --- what the code says


def _members(hint: Any) -> tuple[Any, ...]:
    """The types that a union consists of; of any other type, itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return TYPE_NAMES[type(get_args(hint)[0])]
    plain = get_origin(hint) or hint
    return "object" if issubclass(plain, Record) else TYPE_NAMES[plain]


def _row_of(name: str, hint: Any) -> Row:
    members = _members(hint)
    null = [word for word, one in (("yes", types.NoneType), ("absent", msgspec.UnsetType)) if one in members]
    (value,) = [one for one in members if one not in (types.NoneType, msgspec.UnsetType)]
    return Row(name, _type_name(value), ", ".join(null) or "no")


def _rows_of(record: type[Record]) -> list[Row]:
    hints = get_type_hints(record)
    return [_row_of(field.name, hints[field.name]) for field in msgspec.structs.fields(record)]


def _leaves(hint: Any) -> Iterator[Any]:
    """The types at the bottom of a hint: Gap of `list[Gap] | None`."""
    if not get_args(hint):
        yield hint
    for inner in get_args(hint):
        yield from _leaves(inner)


def _nested_in(record: type[Record]) -> Iterator[type[Record]]:
    """The records that a record holds, each before those that it holds itself."""
    for hint in get_type_hints(record).values():
        for leaf in _leaves(hint):
            if isinstance(leaf, type) and issubclass(leaf, Record):
                yield leaf
                yield from _nested_in(leaf)


def _sections() -> dict[str, type[Record]]:
    """Heading -> record: one for each file, and one for each nested record at the first file that has it."""
    found: dict[str, type[Record]] = {}
    for name, file in FILES.items():
        found[name] = file.record
        for nested in _nested_in(file.record):
            if nested not in found.values():
                found[f"{name}: {nested.__name__}"] = nested
    return found


SECTIONS = _sections()

# --- what the page says


@cache
def _page_sections() -> list[tuple[str, list[str]]]:
    """(heading, lines up to the next heading of any level) of each ### section."""
    sections: list[tuple[str, list[str]]] = []
    is_inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            is_inside = line.startswith("### ")
            if is_inside:
                sections.append((line[4:], []))
        elif is_inside:
            sections[-1][1].append(line)
    return sections


def _first_table(lines: list[str]) -> list[list[str]]:
    """The cells of the first table, its rule left out."""
    table: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            break
    return table[:1] + table[2:]


def _table_of(heading: str) -> list[list[str]]:
    sections = dict(_page_sections())
    assert heading in sections, f"docs/cctf.md has no section '### {heading}'"
    return _first_table(sections[heading])


# --- the page


def test_the_page_has_one_section_for_each_file_and_none_for_any_other() -> None:
    headings = [heading for heading, _ in _page_sections()]
    assert sorted(heading for heading in headings if ":" not in heading) == sorted(FILES)


def test_each_nested_record_has_one_section_at_the_file_that_uses_it_first() -> None:
    headings = [heading for heading, _ in _page_sections()]
    assert sorted(heading for heading in headings if ":" in heading) == sorted(
        heading for heading in SECTIONS if ":" in heading
    )


def test_a_nested_section_follows_its_file() -> None:
    files = [heading.partition(":")[0] for heading, _ in _page_sections()]
    in_blocks = [name for number, name in enumerate(files) if number == 0 or files[number - 1] != name]
    assert len(in_blocks) == len(set(in_blocks))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_of_a_record_is_documented_in_its_order(heading: str) -> None:
    documented = [row[0] for row in _table_of(heading)[1:]]
    assert documented == [f"`{row.field}`" for row in _rows_of(SECTIONS[heading])]


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_type_and_null_of_every_field_are_those_of_the_record(heading: str) -> None:
    header, *rows = _table_of(heading)
    assert header == HEADER
    assert [len(row) for row in rows] == [len(HEADER)] * len(rows)
    documented = [Row(row[0].strip("`"), row[1], row[3]) for row in rows]
    assert documented == _rows_of(SECTIONS[heading])


def test_the_page_names_the_key_that_each_file_is_sorted_by() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rule = text[text.index("**Sort key.**") : text.index("**Null.**")]
    for name, file in FILES.items():
        if file.sort_key not in ("", "ts_ms"):
            assert f"`{name}`" in rule
            assert f"`{file.sort_key}`" in rule
    assert {file.sort_key for file in FILES.values()} == {"", "ts", "ts_enqueue", "ts_ms"}


# --- the schemas


def _published() -> dict[str, Any]:
    return {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in SCHEMA_DIR.glob("*.schema.json")
    }


def test_the_published_schemas_are_those_of_the_records() -> None:
    assert _published() == schemas(), "run `make schema`"


@pytest.mark.parametrize("name", FILES)
def test_a_published_schema_is_a_schema_of_its_dialect(name: str) -> None:
    Draft202012Validator.check_schema(_published()[name])


HASH = "0" * 64
CLOCK = '{"source":null,"synchronised":null,"offset_ms":null,"error_bound_ms":null}'
GOOD = [
    ("host_metrics.jsonl", '{"ts_ms":1795402702010,"node":"vm","stage":"cloud","cpu_util":6.03}'),
    ("host_metrics.jsonl", '{"ts_ms":1795402702021,"node":"vm","stage":"cloud","mem_free_mb":24450}'),
    ("link_metrics.jsonl", '{"ts_ms":0,"node":"vm","link":"vm.nic","rx_Bps":0,"tx_Bps":9,"new_field":[1]}'),
    (
        "proc_cpu.jsonl",
        '{"ts_ms":5,"node":"vm","pid":null,"cpu_ms":1.5,"dt_ms":1000,"starttime":null,"source":"cgroup"}',
    ),
    ("proc_inventory.jsonl", '{"ts_ms":5,"node":"vm","event":"end","pid":7,"starttime":9,"exit_code":-1}'),
    ("marks.jsonl", '{"ts_ms":5,"node":"vm","collector":"proc","kind":"clock_step","step_ms":-3000}'),
    ("invocations.jsonl", '{"ts_enqueue":null,"node":"vm","ts_end":6,"rt_ms":0.125,"status":200}'),
    ("links.json", '[{"link":"vm.nic","u":"vm","v":"vm.net","iface":null,"BW_bps":0,"PR_s":0.0005}]'),
    (
        "manifest.json",
        '{"cctf_version":"1.0","run_id":"r","nodes":["vm"],"tracekit_version":"0.1.0","files":[{"name":"a",'
        f'"records":0,"bytes":0,"sha256":"{HASH}","first_ts":null,"last_ts":null}}]}}',
    ),
    (
        "quality.json",
        '{"collectors":{"cpu":{"expected":2,"got":1,"missing":1,"gaps":[{"from_ms":0,"to_ms":1000,'
        '"reason":"late"}]}},"inputs":{"a.jsonl":{"lines":3,"accepted":1,"rejected":{"torn":1},'
        f'"duplicates":1}}}},"marks":[],"clock":{CLOCK},"balanced":true}}',
    ),
]
BAD = [
    ("wrong type", "host_metrics.jsonl", '{"ts_ms":"5","node":"vm","stage":"cloud","cpu_util":6.03}'),
    ("missing field", "host_metrics.jsonl", '{"ts_ms":5,"stage":"cloud","cpu_util":6.03}'),
    ("over 100 %", "host_metrics.jsonl", '{"ts_ms":5,"node":"vm","stage":"cloud","cpu_util":100.5}'),
    ("null for absent", "host_metrics.jsonl", '{"ts_ms":5,"node":"vm","stage":"cloud","cpu_util":null}'),
    ("negative count", "link_metrics.jsonl", '{"ts_ms":5,"node":"vm","link":"l","rx_Bps":-1,"tx_Bps":0}'),
    ("fraction", "link_metrics.jsonl", '{"ts_ms":5,"node":"vm","link":"l","rx_Bps":1.5,"tx_Bps":0}'),
    ("pid 0", "proc_rss.jsonl", '{"ts_ms":5,"node":"vm","pid":0,"rss_kb":1,"starttime":2}'),
    (
        "unknown source",
        "proc_cpu.jsonl",
        '{"ts_ms":5,"node":"vm","pid":1,"cpu_ms":1,"dt_ms":1,"starttime":2,"source":"guess"}',
    ),
    ("bad name", "invocations.jsonl", '{"ts_enqueue":5,"node":"../vm"}'),
    ("negative duration", "invocations.jsonl", '{"ts_enqueue":5,"node":"vm","rt_ms":-0.1}'),
    ("object for array", "links.json", '{"link":"vm.nic"}'),
    (
        "short hash",
        "manifest.json",
        '{"cctf_version":"1.0","run_id":"r","nodes":[],"tracekit_version":"0.1.0","files":[{"name":"a",'
        '"records":0,"bytes":0,"sha256":"00","first_ts":null,"last_ts":null}]}',
    ),
    ("missing clock", "quality.json", '{"collectors":{},"inputs":{},"marks":[],"balanced":true}'),
]


def _fits_schema(name: str, text: str) -> bool:
    schema = json.loads((SCHEMA_DIR / f"{name}.schema.json").read_text(encoding="utf-8"))
    return bool(Draft202012Validator(schema).is_valid(json.loads(text)))


def _decodes(name: str, text: str) -> bool:
    file = FILES[name]
    wanted: Any = list[file.record] if file.is_array else file.record  # type: ignore[name-defined]
    try:
        msgspec.json.decode(text, type=wanted)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "text"), GOOD, ids=[name for name, _ in GOOD])
def test_a_good_record_fits_its_schema_and_decodes(name: str, text: str) -> None:
    assert _fits_schema(name, text)
    assert _decodes(name, text)


@pytest.mark.parametrize(("why", "name", "text"), BAD, ids=[f"{why} in {name}" for why, name, _ in BAD])
def test_a_bad_record_neither_fits_its_schema_nor_decodes(why: str, name: str, text: str) -> None:
    assert not _fits_schema(name, text), why
    assert not _decodes(name, text), why
