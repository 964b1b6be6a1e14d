"""The members of a JSON object as text: found, and one of them put in front, nothing else touched."""

import re
from collections.abc import Iterator, Sequence

import msgspec

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


def _member_spans(line: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(key with its quotes, start, end) of each member of the object; end is behind its value."""
    depth, key, start, end = 0, None, 0, 0
    for token in _TOKEN.finditer(line):
        text = token.group()
        if depth == 1 and text in (b",", b"}"):
            if key is not None:
                yield key, start, end
            key = None
        elif depth == 1 and key is None:
            key, start = text, token.start()
        depth += (text in (b"{", b"[")) - (text in (b"}", b"]"))
        end = token.end()


def added_text(added: Sequence[tuple[str, str | None]]) -> bytes:
    """Members as text, each with a comma in front."""
    return b"".join(
        b",%b:%b" % (msgspec.json.encode(key), msgspec.json.encode(value)) for key, value in added
    )


def with_first(line: bytes, first: str, added: Sequence[tuple[str, str | None]]) -> bytes:
    """The object with member `first` in front (null where it has none), then the added members.

    line: one JSON object. Every other byte stays."""
    name = f'"{first}"'.encode()
    extra = added_text(added)
    if line.startswith(b"{" + name + b":") and not extra:
        return line
    value, rest = b"null", line[1:-1].strip()
    for key, start, end in _member_spans(line):
        if key == name:
            value = line[start + len(name) : end].lstrip().removeprefix(b":").lstrip()
            before, after = line[1:start].rstrip(), line[end:-1].lstrip()
            rest = (
                before.removesuffix(b",") + after if not after else before + after.removeprefix(b",").lstrip()
            )
            break
    head = b"{" + name + b":" + value + extra
    return head + (b"," if rest.strip() else b"") + rest + b"}"


def refuse_ambiguous(line: bytes, key: str, is_there: bool) -> None:
    """Raises ValueError where the sort key stands twice in the object, or is spelled with escapes."""
    name = f'"{key}"'.encode()
    count = sum(found == name for found, _, _ in _member_spans(line))
    if count > 1:
        raise ValueError(f"the key {key} is there {count} times")
    if count < is_there:
        raise ValueError(f"the key {key} is written with escapes")
