"""Reader: every line is taken or counted, whatever stands around it, on the fast path and the slow one."""

import json
import math
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import BadLineError
from tracekit.files import reading
from tracekit.files.reading import Account, Reader
from tracekit.parse.series import RawLink, RawProc, RawResource, check_resource

GOOD = b'{"ts_ms":%d,"cpu_util":12.5,"mono_ms":3}'
HAZARDS = {
    "empty": [b"", b" ", b"\t", b"\r"],
    "nul": [b"\0\0\0", b'{"ts_ms":1,\0"cpu_util":1}'],
    "utf8": [b'{"ts_ms":1,"cpu_util":1,"x":"\xff"}', b"\xc3"],
    "json": [
        b'{"ts_ms":1,"cpu_util":1}{"ts_ms":2,"cpu_util":1}',
        b'{"ts_ms":1,"cpu_util":1} {"ts_ms":2,"cpu_util":1}',
        b'{"ts_ms":1,\n"cpu_util":1}',
        b'{"ts_ms":1,"cpu_util":1\n}',
        b'{"ts_ms":1,"cpu_util":NaN}',
        b'{"ts_ms":1,"cpu_util":Infinity}',
        b'{"ts_ms":1,"cpu_util":-Infinity}',
        b'{"ts_ms":1,"cpu_util":1,"x":NaN}',
        b'{"ts_ms":1,"cpu_util":1',
        b'{"ts_ms":1,"cpu_util":1},',
        b'"cpu_util":1}',
        b'{"ts_ms":"1","cpu_util":',
        b'{"ts_ms":"1"{"ts_ms":1,"cpu_util":1}',
        b"\xef\xbb\xbf" + GOOD % 1,
        b"}",
        b"}\n{",
        b'{"ts_ms":1,"cpu_util":1,"x":' + b"[" * 5000,
    ],
    "key": [
        b'{"ts_ms":1,"ts_ms":1,"cpu_util":1}',
        b'{"ts_ms":1,"cpu_util":1,"ts\\u005fms":2}',
        b'{"ts_ms":1,"cpu_util":1,"x":{"a":1,"a":1}}',
        b'{"ts_ms" : 1 , "cpu_util" : 1 , "cpu_util" : 1}',
        b'{"ts_ms":1,"cpu_util":1,"x":":","x" :":"}',
    ],
    "type": [
        b'{"cpu_util":1}',
        b'{"ts_ms":1}',
        b'{"ts_ms":1,"cpu_util":1,"mem_free_mb":1}',
        b"[]",
        b"null",
        b"7",
    ],
}
ALL_HAZARDS = [(reason, bytes_) for reason, many in HAZARDS.items() for bytes_ in many]


def read(
    data: bytes, record: type = RawResource, block: int = reading.BLOCK
) -> tuple[list[tuple[int, bytes, object]], list[BadLineError], Account]:
    """(number, line, record) of each good line, the bad ones, and the account."""
    bad: list[BadLineError] = []
    account = Account()
    check = check_resource if record is RawResource else None
    reader: Reader[object] = Reader(record, lambda one, _line: bad.append(one), check)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(reading, "BLOCK", block):
        path = Path(folder) / "in.jsonl"
        path.write_bytes(data)
        good = [
            entry
            for batch in reader.read(path, account)
            for entry in zip(batch.numbers, batch.lines, batch.records, strict=True)
        ]
    return good, bad, account


def refuse(text: str) -> float:
    raise ValueError(text)


def once_each(members: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(members)
    if len(row) < len(members):
        raise ValueError("a member is there twice")
    return row


def is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_good(line: bytes) -> bool:
    """The oracle: the standard library's JSON and the field rules, one line at a time."""
    try:
        row = json.loads(line.decode(), parse_constant=refuse, object_pairs_hook=once_each)
    except (ValueError, RecursionError):
        return False
    if not isinstance(row, dict) or not is_whole(row.get("ts_ms")):
        return False
    if ("cpu_util" in row) == ("mem_free_mb" in row):
        return False
    util = row.get("cpu_util", 0)
    is_util = type(util) in (int, float) and math.isfinite(util) and 0 <= util <= 100
    mono = row.get("mono_ms")
    return is_util and is_whole(row.get("mem_free_mb", 0)) and (mono is None or is_whole(mono))


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@pytest.mark.parametrize(("reason", "hazard"), ALL_HAZARDS)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_good_lines_around_a_hazard_come_out_in_order(reason: str, hazard: bytes, at: int) -> None:
    pieces = [GOOD % number for number in range(4)]
    pieces.insert(at, hazard)
    good, bad, account = read(b"\n".join(pieces) + b"\n")
    assert [record.ts_ms for _, _, record in good] == [0, 1, 2, 3]  # type: ignore[attr-defined]
    bad_lines = 1 + hazard.count(b"\n")
    assert [one.line for one in bad] == list(range(at + 1, at + 1 + bad_lines))
    assert account.rejected.total() == bad_lines
    assert bad[0].reason == reason
    assert account.lines == 4 + bad_lines
    assert account.accepted == 4


@pytest.mark.parametrize("cut", range(1, len(GOOD % 5)))
def test_a_last_line_cut_anywhere_is_torn(cut: int) -> None:
    good, bad, account = read(GOOD % 4 + b"\n" + (GOOD % 5)[:cut])
    assert [number for number, _, _ in good] == [1]
    assert [one.reason for one in bad] == ["torn"]
    assert account.lines == 2


def test_a_last_line_is_torn_also_where_a_wrong_type_stands_before_the_cut() -> None:
    assert [one.reason for one in read(b'{"ts_ms":"1","cpu_u')[1]] == ["torn"]


def test_a_last_line_cut_inside_of_a_letter_is_torn() -> None:
    whole = '{"ts_ms":1,"cpu_util":1,"x":"é"}'.encode()
    _, bad, _ = read(whole[: whole.index(b"\xc3") + 1])  # the first of the two bytes of é
    assert [one.reason for one in bad] == ["torn"]


def test_a_complete_last_line_without_newline_is_taken() -> None:
    good, bad, account = read(GOOD % 1 + b"\n" + GOOD % 2)
    assert [number for number, _, _ in good] == [1, 2]
    assert bad == []
    assert (account.lines, account.accepted) == (2, 2)


def test_a_broken_last_line_with_newline_is_not_torn() -> None:
    _, bad, _ = read(b'{"ts_ms":1\n')
    assert [one.reason for one in bad] == ["json"]


def test_an_empty_file_has_no_lines() -> None:
    assert read(b"")[2].lines == 0


@pytest.mark.parametrize("around", [GOOD % 1 + b"\r", GOOD % 1 + b" ", b"\t" + GOOD % 1])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("others", [0, 2])
def test_blanks_around_a_record_are_no_part_of_its_line(around: bytes, at: int, others: int) -> None:
    pieces = [GOOD % 1] * others
    pieces.insert(at, around)
    good, _, account = read(b"\n".join(pieces) + b"\n")
    assert [line for _, line, _ in good] == [GOOD % 1] * (others + 1)
    assert account.accepted == others + 1


WRONG_WHOLE = [
    '"1"',
    "true",
    "1.0",
    "1.5",
    "1e3",
    "1e400",
    "NaN",
    "Infinity",
    "-1",
    "null",
    "[]",
    "{}",
    "2e-1",
]


@pytest.mark.parametrize("field", ["ts_ms", "pid", "rss_kb", "utime", "stime", "starttime"])
@pytest.mark.parametrize("value", [*WRONG_WHOLE, str(2**63), "1" + "0" * 400])
def test_a_whole_number_of_another_type_is_refused(field: str, value: str) -> None:
    row = dict.fromkeys(("ts_ms", "pid", "rss_kb", "utime", "stime", "starttime"), "5")
    good_line = "{" + ",".join(f'"{name}":{text}' for name, text in row.items()) + "}"
    row[field] = value
    bad_line = "{" + ",".join(f'"{name}":{text}' for name, text in row.items()) + "}"
    good, bad, account = read(f"{good_line}\n{bad_line}\n{good_line}\n".encode(), RawProc)
    assert [number for number, _, _ in good] == [1, 3]
    assert [one.line for one in bad] == [2]
    assert account.rejected.total() == 1


@pytest.mark.parametrize("value", ['"1"', "true", "1e400", "NaN", "-0.1", "100.1", "null"])
def test_a_percentage_of_another_type_or_range_is_refused(value: str) -> None:
    assert read(f'{{"ts_ms":1,"cpu_util":{value}}}\n'.encode())[0] == []


@pytest.mark.parametrize("value", ["1", "true", "null", '""', "[]"])
def test_a_text_of_another_type_is_refused(value: str) -> None:
    line = f'{{"ts_ms":1,"link":{value},"rx_Bps":1,"tx_Bps":1}}\n'
    assert [one.reason for one in read(line.encode(), RawLink)[1]] == ["type"]


def test_the_message_names_file_and_line() -> None:
    _, bad, _ = read(GOOD % 1 + b"\n{}\n")
    assert str(bad[0]).startswith("in.jsonl:2: ")


def test_a_long_line_across_blocks_comes_out_whole() -> None:
    long_line = b'{"ts_ms":2,"cpu_util":1,"x":"' + b"a" * 600_000 + b'"}'  # more than two blocks of 262,144
    good, bad, _ = read(GOOD % 1 + b"\n" + long_line + b"\n" + GOOD % 3 + b"\n")
    assert [line for _, line, _ in good] == [GOOD % 1, long_line, GOOD % 3]
    assert bad == []


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("over", [-1, 0, 1, 1000])
def test_a_line_beyond_the_limit_is_rejected_as_long_wherever_blocks_end(
    at: int, ends: bool, over: int
) -> None:
    limit, head = 300, 80
    filled = b'{"ts_ms":9,"cpu_util":1,"x":"'
    long_line = filled + b"a" * (limit + over - len(filled) - 3) + b'"}'  # limit + over with its newline
    pieces = [GOOD % number for number in range(3)]
    pieces.insert(at, long_line)
    for block in (7, 64, 100, 299, 300):
        with mock.patch.object(reading, "LINE_LIMIT", limit), mock.patch.object(reading, "_HEAD", head):
            good, bad, account = read(b"\n".join(pieces) + b"\n" * ends, block=block)
        lines = [line for _, line, _ in good]
        is_taken = over <= 0 or (over == 1 and not ends and at == 3)
        assert lines == [one for one in pieces if is_taken or one is not long_line], block
        assert [(one.line, one.reason) for one in bad] == ([] if is_taken else [(at + 1, "long")])
        assert (account.lines, account.accepted) == (4, len(lines))


def test_many_blocks_keep_numbers_and_order() -> None:
    lines = [GOOD % number for number in range(20_000)]  # about 880 kB, four blocks
    lines[12_345] = b"{}"
    good, bad, account = read(b"\n".join(lines) + b"\n")
    assert [number for number, _, _ in good] == [n for n in range(1, 20_001) if n != 12_346]
    assert all(record.ts_ms == number - 1 for number, _, record in good)  # type: ignore[attr-defined]
    assert [one.line for one in bad] == [12_346]
    assert account.lines == 20_000


piece = st.one_of(
    st.integers(0, 10**13).map(lambda number: GOOD % number),
    st.integers(0, 10**13).map(lambda number: b'{"mem_free_mb":1, "ts_ms" :%d}' % number),
    st.sampled_from(["é}", '"}{', "\\", "]", "\u2028"]).map(
        lambda text: json.dumps({"ts_ms": 1, "cpu_util": 1, "x": [text, {}]}, ensure_ascii=False).encode()
    ),
    st.sampled_from([GOOD % 1 + b"\r", b" " + GOOD % 1]),
    st.lists(
        st.sampled_from([b'"ts_ms":1', b'"ts_ms" :2', b'"cpu_util":3', b'"mono_ms":4', b'"x":":"']),
        max_size=5,
    ).map(lambda members: b"{" + b",".join(members) + b"}"),
    st.sampled_from([one for _, one in ALL_HAZARDS]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(piece, max_size=12), st.booleans(), st.sampled_from([5, 64, 200, 1 << 18]))
def test_any_mix_gives_what_a_line_by_line_oracle_gives(pieces: list[bytes], ends: bool, block: int) -> None:
    data = b"\n".join(pieces) + b"\n" * ends
    wanted = [(number, one.strip()) for number, one in enumerate(lines_of(data), 1) if is_good(one)]
    good, bad, account = read(data, block=block)
    assert [(number, line.strip()) for number, line, _ in good] == wanted
    assert [record.ts_ms for _, _, record in good] == [json.loads(one)["ts_ms"] for _, one in wanted]  # type: ignore[attr-defined]
    assert account.lines == len(lines_of(data)) == len(good) + len(bad)
    assert account.lines == account.accepted + account.rejected.total() + account.duplicates


@settings(max_examples=200, deadline=None)
@given(st.lists(piece.filter(is_good), min_size=1, max_size=8))
def test_a_bad_line_behind_them_changes_nothing_of_good_lines(pieces: list[bytes]) -> None:
    data = b"\n".join(pieces) + b"\n"
    assert read(data)[0] == read(data + b"\n")[0]  # the empty line makes the reader go line by line
