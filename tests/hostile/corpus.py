"""Raw files with one hazard each among numbered good lines; README.md says what each hazard is.

A hazard is made from a good line of the raw file that it is put into: as near to a good one as can be.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from tests.runs import MONO0, T0, line
from tracekit.parse.entries import loose
from tracekit.parse.series import RawLink, RawProc, RawResource
from tracekit.records import FILES

COUNT = 1000
ODD_MS = T0 + COUNT  # the time of a hazard: behind that of every good line


def _request(ts_ms: int) -> dict[str, Any]:
    return {
        "ts_enqueue": ts_ms,
        "ts_end": ts_ms + 1,
        "trace_id": "t",
        "span_id": f"{ts_ms:016x}",
        "status": 200,
    }


class Kind(NamedTuple):
    """A raw file: the cctf file that its lines go to, a good line at a time, and the record they must fit."""

    raw: str
    out: str
    row: Callable[[int], dict[str, Any]]
    record: type

    @property
    def key(self) -> str:
        return FILES[self.out].sort_key


def _passed(raw: str, out: str, row: Callable[[int], dict[str, Any]]) -> Kind:
    return Kind(raw, out, row, loose(FILES[out].record))


KINDS = [
    Kind(
        "resources.jsonl",
        "host_metrics.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "cpu_util": 1.5, "mono_ms": MONO0 + ts_ms - T0},
        RawResource,
    ),
    Kind(
        "links.jsonl",
        "link_metrics.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "link": "vm1.nic", "rx_Bps": 1, "tx_Bps": 2, "mono_ms": None},
        RawLink,
    ),
    Kind(
        "proc_metrics.jsonl",
        "proc_metrics.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "pid": 7, "rss_kb": 1, "utime": 5, "stime": 0, "starttime": 9},
        RawProc,
    ),
    _passed(
        "proc_inventory.jsonl",
        "proc_inventory.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "event": "seen", "pid": 7, "starttime": 9, "comm": "a"},
    ),
    _passed(
        "marks.jsonl",
        "marks.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "collector": "cpu", "kind": "cost", "detail": "a"},
    ),
    _passed("events.11.jsonl", "invocations.jsonl", _request),
    _passed("calls.11.jsonl", "calls.jsonl", _request),
    _passed("events_client.jsonl", "events_client.jsonl", _request),
    _passed(
        "placement_events.jsonl",
        "placement_events.jsonl",
        lambda ts_ms: {"ts": ts_ms, "event": "start", "module_id": "m"},
    ),
    _passed(
        "system_stats.11.jsonl",
        "system_stats.jsonl",
        lambda ts_ms: {"ts_ms": ts_ms, "metric": "in_flight", "value": 1.5},
    ),
]


# --- hazards: (reason, what stands in the place of a line, without its newline)


def _with(text: str) -> Callable[[Kind], bytes]:
    """A good line with these members more."""
    return lambda kind: good(kind, ODD_MS)[:-1] + b"," + text.encode() + b"}"


def _key_is(text: str) -> Callable[[Kind], bytes]:
    """A good line with another text in the place of its sort key's number."""
    return lambda kind: good(kind, ODD_MS).replace(b"%d" % ODD_MS, text.encode(), 1)


def _of(pattern: bytes) -> Callable[[Kind], bytes]:
    """%b: a good line."""
    return lambda kind: pattern.replace(b"%b", good(kind, ODD_MS))


def good(kind: Kind, ts_ms: int) -> bytes:
    """A good line of that time, without its newline."""
    return line(kind.row(ts_ms)).rstrip()


HAZARDS: dict[str, tuple[str, Callable[[Kind], bytes]]] = {
    "NUL line": ("nul", _of(b"\0" * 64)),
    "NUL hole before a line": ("nul", _of(b"\0" * 4096 + b"%b")),
    "NUL inside": ("nul", lambda kind: good(kind, ODD_MS).replace(b",", b",\0", 1)),
    "stray byte": ("utf8", _of(b"\xff")),
    "stray byte in a text": ("utf8", lambda kind: good(kind, ODD_MS)[:-1] + b',"x":"\xe9"}'),
    "overlong UTF-8": ("utf8", lambda kind: good(kind, ODD_MS)[:-1] + b',"x":"\xc0\xaf"}'),
    "UTF-8 of a surrogate": ("utf8", lambda kind: good(kind, ODD_MS)[:-1] + b',"x":"\xed\xa0\x80"}'),
    "byte order mark": ("json", _of(b"\xef\xbb\xbf%b")),
    "UTF-16": ("utf8", lambda kind: good(kind, ODD_MS).decode().encode("utf-16")),
    "text": ("json", _of(b"Segmentation fault (core dumped)")),
    "opening brace": ("json", _of(b"{")),
    "closing brace": ("json", _of(b"}")),
    "cut line": ("json", lambda kind: good(kind, ODD_MS)[:-5]),
    "cut and glued": ("json", lambda kind: good(kind, ODD_MS)[:-5] + good(kind, ODD_MS)),
    "comma behind": ("json", _of(b"%b,")),
    "comma inside": ("json", lambda kind: good(kind, ODD_MS)[:-1] + b",}"),
    "single quotes": ("json", lambda kind: good(kind, ODD_MS).replace(b'"', b"'")),
    "comment": ("json", _of(b"%b // good")),
    "two objects": ("json", _of(b"%b%b")),
    "two objects and a blank": ("json", _of(b"%b %b")),
    "two objects and a return": ("json", _of(b"%b\r%b")),
    "NaN": ("json", _with('"x":NaN')),
    "Infinity": ("json", _with('"x":Infinity')),
    "minus Infinity": ("json", _with('"x":-Infinity')),
    "NaN for the time": ("json", _key_is("NaN")),
    "leading zero": ("json", _key_is(f"0{ODD_MS}")),
    "plus sign": ("json", _key_is(f"+{ODD_MS}")),
    "hexadecimal": ("json", _key_is("0x10")),
    "control character in a text": ("json", _with('"x":"\x01"')),
    "bad escape": ("json", _with('"x":"\\q"')),
    "deep nesting": ("json", _with('"x":' + "[" * 100_000)),
    "deep and closed": ("json", _with('"x":' + "[" * 100_000 + "]" * 100_000)),
    "deep objects": ("json", _with('"x":' + '{"x":' * 100_000 + "1" + "}" * 100_000)),
    "1e400 for the time": ("type", _key_is("1e400")),
    "2^64 for the time": ("type", _key_is(str(2**64))),
    "400 digits for the time": ("type", _key_is("1" + "0" * 400)),
    "5,000 digits for the time": ("type", _key_is("1" + "0" * 5000)),
    "fraction for the time": ("type", _key_is(f"{ODD_MS}.0")),
    "exponent for the time": ("type", _key_is("1e3")),
    "text for the time": ("type", _key_is(f'"{ODD_MS}"')),
    "true for the time": ("type", _key_is("true")),
    "negative time": ("type", _key_is("-1")),
    "array": ("type", _of(b"[%b]")),
    "number": ("type", _of(b"7")),
    "null": ("type", _of(b"null")),
    "quoted object": ("type", lambda kind: json.dumps(good(kind, ODD_MS).decode()).encode()),
    "empty line": ("empty", _of(b"")),
    "blanks": ("empty", _of(b" \t ")),
    "return": ("empty", _of(b"\r")),
    "time twice": ("key", lambda kind: b'{"%b":1,' % kind.key.encode() + good(kind, ODD_MS)[1:]),
    "a member twice": ("key", _with('"x":1,"x":2')),
    "a member twice, once with escapes": ("key", _with('"x":1,"\\u0078":2')),
    "a member twice, with blanks": ("key", _with('"x" : 1 , "x" : 2')),
}

# What looks odd and is good: it comes out as one line more, and this text of it stays where lines pass.
HARMLESS: dict[str, tuple[Callable[[Kind], bytes], str]] = {
    "2^53+1": (_with('"x":9007199254740993'), "9007199254740993"),
    "2^64": (_with('"x":18446744073709551616'), "18446744073709551616"),
    "400 digits": (_with('"x":1' + "0" * 400), "1" + "0" * 400),
    "1e400": (_with('"x":1e400'), "1e400"),
    "minus zero": (_with('"x":-0'), "-0"),
    "number text": (_with('"x":[1.50,1E+2,0.10]'), "[1.50,1E+2,0.10]"),
    "line separators": (_with('"x":"\u2028\u2029\u0085"'), "\u2028\u2029\u0085"),
    "surrogate pair in escapes": (_with('"x":"\\ud83d\\ude00"'), "\\ud83d\\ude00"),
    "quotes and braces": (_with('"x":"\\"}{\\"}\\\\"'), '"\\"}{\\"}\\\\"'),
    "colons and keys in a text": (_with('"x":"\\"ts_ms\\":1,\\"ts_enqueue\\":2"'), '\\"ts_enqueue\\":2'),
    "the same key further down": (_with('"x":{"x":{"ts_ms":1,"ts_enqueue":2,"ts":3}}'), '{"x":{"ts_ms":1,'),
    "return at the end": (_of(b"%b\r"), ""),
    "return between members": (lambda kind: b",\r".join(good(kind, ODD_MS).rsplit(b",", 1)), ""),
    "blanks around": (_of(b" \t%b "), ""),
}


def wrong_values(kind: Kind) -> Iterator[tuple[str, str]]:
    """(field, text of a value): each field of the raw record, with each type and range it must not have."""
    for field in inspect.type_info(kind.record).fields:  # type: ignore[attr-defined]
        for text in sorted(_WRONG - _fitting(field.type)):
            yield field.encode_name, text


_WRONG = {"1", "1.5", "1.0", "1e3", "-1", str(2**63), '"1"', "true", "false", "null", "[]", "{}", "[1]"}


def _fitting(hint: Any) -> set[str]:
    """Those of _WRONG that are right for the type after all."""
    if isinstance(hint, inspect.Metadata):
        return _fitting(hint.type)
    if isinstance(hint, inspect.UnionType):
        return set().union(*(_fitting(one) for one in hint.types))
    if isinstance(hint, inspect.IntType | inspect.FloatType):
        found = {"1"} | ({"1.0", "1.5"} if isinstance(hint, inspect.FloatType) else set())
        found |= {"-1"} if hint.ge is None else set()
        found |= {str(2**63)} if hint.le is None else set()
        return found | ({"1e3"} if hint.le is None and "1.5" in found else set())
    assert isinstance(hint, inspect.StrType | inspect.NoneType | inspect.LiteralType | inspect.BoolType), hint
    fitting = {inspect.StrType: {'"1"'}, inspect.NoneType: {"null"}, inspect.BoolType: {"true", "false"}}
    return fitting.get(type(hint), set())


def with_value(kind: Kind, field: str, text: str) -> bytes:
    """A good line in which the field has that value."""
    row = {**kind.row(ODD_MS), field: msgspec.Raw(text.encode())}
    return msgspec.json.encode(row)
