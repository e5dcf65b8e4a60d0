import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers.imports import delimited, reader
from customers.imports.reader import UnreadableFile

TABLE = "name,city\nChiara,Città\nLuca,Roma\n"


def read(data: bytes):
    file = io.BytesIO(data)
    dialect = reader.sniff(file)
    return dialect, list(reader.rows(file, dialect))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_common_encoding_is_read(encoding: str):
    dialect, rows = read(TABLE.encode(encoding))

    assert dialect.columns == ("name", "city")
    assert [row.cells for row in rows] == [["Chiara", "Città"], ["Luca", "Roma"]]
    assert not any(row.problem for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_common_delimiter_and_line_end_is_read(delimiter: str, line_end: str):
    dialect, rows = read(TABLE.replace(",", delimiter).replace("\n", line_end).encode())

    assert dialect.delimiter == delimiter
    assert [row.line for row in rows] == [2, 3]


def test_an_accent_far_down_the_file_is_still_utf8():
    data = ("name\n" + "Anna\n" * 100_000 + "Zoë\n").encode()

    dialect, rows = read(data)

    assert dialect.encoding == "utf-8"
    assert rows[-1].cells == ["Zoë"]


def test_one_broken_byte_refuses_its_row_and_no_other():
    data = "name\nZoë\nJosé\nRené\n".encode() + b"Zo\xeb\n" + "Élise\n".encode()

    _dialect, rows = read(data)

    assert [bool(row.problem) for row in rows] == [False, False, False, True, False]
    assert rows[3].line == 5


def test_ragged_nul_and_empty_rows_say_what_is_wrong_and_where():
    data = b"a,b\n1,2\n1\n1,2,3\n1,2,,\n1,\x002\n,\n\n1,2\n"

    _dialect, rows = read(data)

    problems = {row.line: row.problem for row in rows}
    assert problems[3] == "The row has 1 cells, the header has 2."
    assert problems[4] == "The row has 3 cells, the header has 2."
    assert problems[6] == "The row contains a NUL character."
    assert problems[7] == "The row is empty."
    assert problems[2] == problems[5] == problems[9] == ""
    assert 8 not in problems  # A blank line is no row.


def test_a_cell_may_hold_line_ends_and_the_lines_are_still_counted():
    _dialect, rows = read(b'a,b\n"one\ntwo",2\n3,4\n')

    assert [(row.line, row.cells) for row in rows] == [(2, ["one\ntwo", "2"]), (4, ["3", "4"])]


@pytest.mark.parametrize("rest", [3, 2_000])
def test_a_quotation_mark_nobody_closed_costs_one_row(rest: int):
    _dialect, rows = read(b'a,b\n1,2\n"oops,2\n' + b"3,4\n" * rest)

    assert [row.line for row in rows if row.problem] == [3]
    assert rows[1].problem == "A quotation mark is opened and never closed."
    assert len(rows) == rest + 2


def test_a_line_of_megabytes_costs_one_row():
    _dialect, rows = read(b"a,b\n1," + b"x" * 3_000_000 + b"\n3,4\n")

    assert [bool(row.problem) for row in rows] == [True, False]
    assert rows[1].cells == ["3", "4"]


def test_a_table_without_a_header_gets_names():
    dialect, rows = read(b"anna@example.it,2024-01-01\nluca@example.it,2024-01-02\n")

    assert dialect.columns == ("Column 1", "Column 2")
    assert [row.line for row in rows] == [1, 2]


def test_doubled_and_missing_names_are_told_apart():
    dialect, _rows = read(b"email,email,,city\na@b.it,c@d.it,x,y\n")

    assert dialect.columns == ("email", "email (2)", "Column 3", "city")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"  \n \n", "empty"),
        (b"PK\x03\x04rest of a workbook", "damaged"),
        (b"\xd0\xcf\x11\xe0rest of a workbook", "old Excel"),
        (b"%PDF-1.7 ...", "PDF"),
        (bytes(range(256)) * 50, "not a text file"),
    ],
)
def test_what_is_no_table_is_refused_in_plain_words(data: bytes, message: str):
    with pytest.raises(UnreadableFile, match=message):
        reader.sniff(io.BytesIO(data))


@settings(max_examples=400, deadline=None)
@given(
    st.text('ab,";\n\r\0é\u2028 ', max_size=120),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]),
    st.integers(1, 60),
)
def test_reading_in_blocks_gives_the_rows_that_reading_line_by_line_gives(text, encoding, block):
    data = text.encode(encoding, errors="replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "MAX_ROW", 40)
        patch.setattr(delimited, "MAX_RECORD_LINES", 5)
        whole = _records_of(data, encoding)
        patch.setattr(delimited, "BLOCK_BYTES", block)
        in_blocks = _records_of(data, encoding)
        patch.setattr(delimited, "_one_record_a_line", lambda *_: None)
        one_by_one = _records_of(data, encoding)

    assert whole == in_blocks == one_by_one


def _records_of(data: bytes, encoding: str) -> list[reader.Row]:
    return list(delimited.records(io.BytesIO(data), encoding, ","))
