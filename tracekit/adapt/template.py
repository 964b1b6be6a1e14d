"""Lines described by a text with $variables, as nginx's log_format: compiled to one expression."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tracekit.errors import UsageError

_PIECE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_TOKEN = re.compile(
    r"""#[^\n]*|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([{};])|([^\s{};'"#][^\s{};]*)""", re.DOTALL
)
_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_JSON_ESCAPE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LIST = rb"\S*(?:(?:, | : )\S+)*"
_ANY_TEXT = re.compile(
    r"remote_user|request|request_uri|uri|args|query_string|https?_.*|sent_.*|arg_.*|cookie_.*"
)
_TYPED = {
    "time_local": rb"\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    "msec": rb"\d+\.\d{3}",
    "request_time": rb"\d+\.\d{3}",
}


class Format(NamedTuple):
    """text: the lines' form, with $variables. escape: how values are escaped: default, json or none."""

    text: str
    escape: str = "default"


@dataclass(frozen=True)
class Piece:
    """Literal text, or the name of a variable; is_quoted: a quote stands on both its sides."""

    text: str
    is_variable: bool = False
    is_quoted: bool = False


def pieces(text: str) -> list[Piece]:
    """A format's literals and variables, in order."""
    found: list[Piece] = []
    at = 0
    for match in _PIECE.finditer(text):
        if match.start() > at:
            found.append(Piece(text[at : match.start()]))
        is_quoted = (
            text[max(match.start() - 1, 0) : match.start()] == '"' == text[match.end() : match.end() + 1]
        )
        found.append(Piece(match[1] or match[2], True, is_quoted))
        at = match.end()
    if at < len(text):
        found.append(Piece(text[at:]))
    return found


def pattern_of(piece: Piece, escape: str) -> bytes:
    """What a variable's value may look like in a line, so that it ends where the next literal begins."""
    if piece.text in _TYPED:
        return _TYPED[piece.text]
    if piece.is_quoted and escape == "json":
        return rb'(?:[^"\\\n]|\\.)*'
    if piece.is_quoted and escape == "default":
        return rb'[^"\n]*'
    if piece.text.startswith("upstream_"):
        return _LIST
    return rb"[^\n]*?" if _ANY_TEXT.fullmatch(piece.text) or escape == "none" else rb"[^\s]*"


def group_of(piece: Piece, escape: str) -> bytes:
    """The same, as a group."""
    return b"(" + pattern_of(piece, escape) + b")"


def compiled(
    form: Format, group: Callable[[Piece, str], bytes] = group_of, head: bytes = b"", tail: bytes = b""
) -> "tuple[re.Pattern[bytes], list[str]]":
    """The expression of a line, and the names of its variables; a group for each, where group() makes one.

    Raises UsageError where there is no variable."""
    parts = pieces(form.text)
    names = [piece.text for piece in parts if piece.is_variable]
    if not names:
        raise UsageError(f"LOG_FORMAT={form.text[:60]!a}: has no $variable")
    body = b"".join(
        group(piece, form.escape) if piece.is_variable else re.escape(piece.text.encode()) for piece in parts
    )
    return re.compile(head + body + tail, re.MULTILINE), names


def unescaped(value: bytes, escape: str) -> str:
    r"""A value as the client sent it: \xHH and the escapes of JSON undone once; no UTF-8: replaced."""
    if b"\\" in value and escape != "none":
        value = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), value)
    text = value.decode("utf-8", "replace")
    if escape == "json" and "\\" in text:
        text = re.sub(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))', _json_character, text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if escape == "json" else text


def _json_character(match: "re.Match[str]") -> str:
    return chr(int(match[1], 16)) if match[1] else _JSON_ESCAPE[match[2]]


def keys_of(form: Format) -> dict[str, str]:
    """Of a format that is a JSON object: its keys and the text of their values; else {}."""
    quoted = re.sub(r"(?<=:)\s*(\$\{?\w+\}?)(?=\s*[,}])", r'"\1"', form.text)
    try:
        value = json.loads(quoted)
    except ValueError:
        return {}
    return {str(key): text if isinstance(text, str) else json.dumps(text) for key, text in value.items()}


# --- where the user has it


def words_of(text: str) -> list[str]:
    """The words of a piece of nginx.conf, "{", "}" and ";" among them; without quotes and comments."""
    words = []
    for match in _TOKEN.finditer(text):
        quoted = match[1] if match[1] is not None else match[2]
        if quoted is not None:
            words.append(re.sub(r"\\([\"'\\])", r"\1", quoted))
        elif match[3] or match[4]:
            words.append(match[3] or match[4])
    return words


def directive(words: list[str]) -> Format:
    """The format of the words behind "log_format NAME"."""
    escape = "default"
    if words and words[0].startswith("escape="):
        escape = words[0].removeprefix("escape=")
        words = words[1:]
    if escape not in ("default", "json", "none"):
        raise UsageError(f"log_format: escape={escape!a} is none of default, json, none")
    return Format("".join(words), escape)


def literal(text: str) -> Format:
    """A format that the user typed: the text itself, as in quotes, or the whole directive."""
    text = text.strip()
    if text.startswith("log_format "):
        words = words_of(text)
        return directive([word for word in words[2:] if word != ";"])
    escape, rest = "", text
    if match := re.match(r"escape=(\w+)\s+", text):
        escape, rest = match[1], text[match.end() :]
    if rest[:1] == "'":
        rest = "".join(word for word in words_of(rest) if word != ";")
    escape = escape or ("json" if rest.startswith("{") else "default")
    return directive([f"escape={escape}", rest])


def formats_in(words: list[str]) -> dict[str, Format]:
    """Every log_format of a configuration, by name."""
    found, at = {}, 0
    while "log_format" in words[at:]:
        at = words.index("log_format", at)
        end = words.index(";", at) if ";" in words[at:] else len(words)
        if end - at > 2:
            found[words[at + 1]] = directive(words[at + 2 : end])
        at = end
    return found
