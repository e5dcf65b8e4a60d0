import io
import struct
import subprocess
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import python_calamine
import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile

from core.tests.factories import make_user
from customers.imports import CUSTOMERS, archive, jobs, reader, table, workbook
from customers.imports.reader import UnreadableFile
from customers.models import Customer, Identifier

from . import workbooks


def read(data: bytes) -> tuple[reader.Dialect, list[reader.Row]]:
    file = io.BytesIO(data)
    dialect = reader.sniff(file)
    return dialect, list(reader.rows(file, dialect))


def cells(data: bytes) -> list[list[str]]:
    return [row.cells for row in read(data)[1]]


def test_a_workbook_is_read_like_the_csv_of_its_sheet():
    dialect, rows = read(
        workbooks.of_rows(["email", "name"], ["anna@example.it", "Anna Perché"], ["eva@example.it", "Eva"])
    )

    assert dialect.columns == ("email", "name")
    assert dialect.sheet == "People"
    assert [(row.line, row.cells, row.problem) for row in rows] == [
        (2, ["anna@example.it", "Anna Perché"], ""),
        (3, ["eva@example.it", "Eva"], ""),
    ]


def test_cells_come_as_the_text_a_person_would_type():
    def fill(book: xlsxwriter.Workbook) -> None:
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        euro = book.add_format({"num_format": '#,##0.00 "days of" [$€-410]'})
        padded = book.add_format({"num_format": "00000"})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["born", "at", "phone", "paid", "code", "yes", "sum", "price", "text"])
        sheet.write_datetime(1, 0, datetime(1990, 12, 31), day)
        sheet.write_datetime(1, 1, datetime(2024, 2, 29, 13, 45), moment)
        sheet.write_number(1, 2, 393475550101)
        sheet.write_number(1, 3, 0.1 + 0.2)
        sheet.write_number(1, 4, 123, padded)
        sheet.write_boolean(1, 5, True)
        sheet.write_formula(1, 6, "=1+1", None, 2)
        sheet.write_number(1, 7, 1234.5, euro)
        sheet.write_rich_string(1, 8, "two ", book.add_format({"bold": True}), "runs")

    found = cells(workbooks.written(fill))

    dates = ["1990-12-31", "2024-02-29 13:45:00"]
    assert found == [[*dates, "393475550101", "0.3", "00123", "true", "2", "1234.5", "two runs"]]


def test_dates_of_a_workbook_made_on_an_old_mac_are_the_same_dates():
    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "born")
        sheet.write_datetime(1, 0, datetime(1990, 12, 31), book.add_format({"num_format": "d mmm yy"}))

    assert cells(workbooks.written(fill, date_1904=True)) == [["1990-12-31"]]


def test_what_we_read_is_what_calamine_reads():
    values = [
        0,
        1,
        -5,
        12345678901,
        3.14,
        1e21,
        1e-7,
        "€ <&> \u2028",
        " padded ",
        "_x0041_",
        "007",
        "line\nend",
    ]
    rows = [["text", *(f"c{n}" for n in range(len(values)))], *([f"r{n}", *values] for n in range(40))]
    data = workbooks.of_rows(*rows)
    expected = python_calamine.load_workbook(io.BytesIO(data)).get_sheet_by_index(0).to_python()

    assert [[_value(cell) for cell in row] for row in cells(data)] == [
        [_value(str(cell)) for cell in row] for row in expected[1:]
    ]


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def test_empty_rows_and_columns_around_the_table_are_nothing():
    def fill(book: xlsxwriter.Workbook) -> None:
        blank = book.add_format({"bold": True})
        sheet = book.add_worksheet()
        sheet.write_row(2, 0, ["email", "name"])
        sheet.write_row(5, 0, ["anna@example.it"])
        sheet.write_row(6, 0, ["eva@example.it", "Eva"])
        for row in range(7, 20):
            sheet.write_blank(row, 0, None, blank)
        sheet.write_blank(6, 7, None, blank)

    dialect, rows = read(workbooks.written(fill))

    assert dialect.columns == ("email", "name")
    assert [(row.line, row.cells) for row in rows] == [
        (6, ["anna@example.it", ""]),
        (7, ["eva@example.it", "Eva"]),
    ]


def test_the_first_visible_sheet_with_something_in_it_is_read():
    def fill(book: xlsxwriter.Workbook) -> None:
        hidden = book.add_worksheet("Notes")
        hidden.write(0, 0, "secret")
        empty = book.add_worksheet("Empty")
        empty.activate()
        hidden.hide()
        book.add_worksheet("People 2024").write_column(0, 0, ["email", "anna@example.it"])

    dialect, rows = read(workbooks.written(fill))

    assert dialect.sheet == "People 2024"
    assert len(rows) == 1


def test_a_cell_with_an_error_costs_its_row_and_says_where():
    rows = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>email</t></is></c><c r="B1" t="str"><v>name</v></c></row>'
        '<row r="2"><c r="A2" t="str"><v>a@b.it</v></c><c r="B2" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>'
        '<row r="3"><c r="A3" t="str"><f>X()</f><v>c@d.it</v></c><c r="B3"><f>Y()</f></c></row>'
        '<row r="4"><c r="A4" t="s"><v>7</v></c></row>'
        '<row r="5"><c r="A5" t="str"><v>ok@b.it</v></c><c r="B5" t="str"><v>A_x0000_B</v></c></row>'
        '<row r="6"><c r="A6" t="str"><v>ok@b.it</v></c><c r="B6" t="s"><v>0</v></c></row>'
    )

    _dialect, found = read(workbooks.by_hand(rows, texts="<si><t>A_xD800_B</t></si>"))

    assert {row.line: row.problem for row in found} == {
        2: "B2 holds the error #DIV/0!.",
        3: "The formula in B3 has no value. Open the workbook and save it again.",
        4: "The text of A4 is missing in the workbook.",
        5: "The row contains a NUL character.",
        6: "The row contains characters that are not readable in the file's encoding.",
    }


def test_cells_and_rows_without_their_addresses_stand_one_after_the_other():
    rows = "<row><c t='str'><v>email</v></c></row><row><c t='str'><v>a@b.it</v></c><c><v>1</v></c></row>"

    _dialect, found = read(workbooks.by_hand(rows))

    assert [(row.line, row.cells) for row in found] == [(2, ["a@b.it", "1"])]
    assert found[0].problem == "The row has 2 cells, the header has 1."


def test_a_workbook_with_only_a_header_has_no_rows():
    assert read(workbooks.of_rows(["email"]))[1] == []


@pytest.mark.django_db
def test_a_workbook_is_imported_like_any_file_and_names_its_rows():
    born = date(1990, 12, 31)

    def fill(book: xlsxwriter.Workbook) -> None:
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["email", "phone", "birth date"])
        sheet.write_row(1, 0, ["anna@example.it", 393475550101])
        sheet.write_datetime(1, 2, datetime(born.year, born.month, born.day), day)
        sheet.write_row(3, 0, ["bad", 393475550102])

    upload = SimpleUploadedFile("people.xlsx", workbooks.written(fill))
    job = jobs.bring_file(upload, importer=CUSTOMERS, by=make_user())
    check = jobs.check_draft(job.pk, importer=CUSTOMERS)
    assert (check.created, check.rejected, check.is_whole) == (1, 1, True)
    jobs.start_import(job.pk, importer=CUSTOMERS, by=job.by)
    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert (job.status, job.rows, job.created, job.rejected) == ("done", 2, 1, 1)
    assert Customer.objects.get().birth_date == born
    assert Identifier.objects.get(kind="phone").value == "+393475550101"
    assert list(job.rejections.values_list("line", "reason")) == [
        (4, "email: “bad” is not an e-mail address.")
    ]


# --- hostile files --------------------------------------------------------------------------------


def refusal_of(data: bytes) -> str:
    with pytest.raises(UnreadableFile) as refused:
        read(data)
    return str(refused.value)


def test_a_bomb_is_refused_before_a_byte_is_expanded(monkeypatch: pytest.MonkeyPatch):
    bomb = workbooks.by_hand("", more={"xl/worksheets/sheet1.xml": b"<" + b" " * 50_000_000})
    assert len(bomb) < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("The bomb was opened."))

    assert "would expand to" in refusal_of(bomb)


def test_many_parts_are_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch):
    data = workbooks.zipped({f"xl/{number}.zip": b"" for number in range(50_000)})
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("The directory was read."))

    assert "too many parts" in refusal_of(data)


def test_a_directory_beyond_the_first_is_refused(monkeypatch: pytest.MonkeyPatch):
    data = workbooks.of_rows(["email"])
    end = data.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("The directory was read."))

    assert "too many parts" in refusal_of(data[:end] + locator + data[end:])


def test_a_part_that_lies_about_its_size_gives_no_more_than_it_declares():
    content = workbooks.sheet_xml("<row><c t='str'><v>email</v></c></row>" + " " * 3_000_000)
    data = bytearray(workbooks.by_hand("", more={"xl/worksheets/sheet1.xml": content.encode()}))
    honest, lie = struct.pack("<L", len(content)), struct.pack("<L", 5_000)
    assert data.count(honest) == 2  # In front of the part and in the directory.

    with pytest.raises(UnreadableFile, match="damaged"):
        read(bytes(data.replace(honest, lie)))


def test_entities_are_never_expanded():
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    sheet = workbooks.sheet_xml("<row><c t='str'><v>&l9;</v></c></row>")
    hostile = f'<!DOCTYPE x [<!ENTITY l0 "lol">{laughs}]>{sheet}'

    for part in ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"):
        assert "entities" in refusal_of(workbooks.by_hand("", more={part: hostile.encode()}))


def test_a_file_outside_is_never_read():
    sheet = workbooks.sheet_xml("<row><c t='str'><v>&x;</v></c></row>")
    hostile = f'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>{sheet}'

    assert "entities" in refusal_of(
        workbooks.by_hand("", more={"xl/worksheets/sheet1.xml": hostile.encode()})
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"letter.txt": b"hello"}, "ZIP archive"),
        ({"xl/workbook.bin": b""}, "xlsb"),
        ({"mimetype": b"", "content.xml": b"<x/>"}, "OpenDocument"),
        ({"xl/workbook.xml": b"<x/>", "a.zip": b"PK"}, "other archives"),
        ({"xl/workbook.xml": b"<x/>"}, "damaged"),
        ({"xl/workbook.xml": b"<x", "xl/_rels/workbook.xml.rels": b"<x/>"}, "damaged"),
    ],
)
def test_what_is_no_workbook_is_refused_in_plain_words(parts: dict[str, bytes], message: str):
    assert message in refusal_of(workbooks.zipped(parts))


def test_a_workbook_with_a_password_is_refused():
    data = bytearray(workbooks.of_rows(["email"]))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1

    assert "password" in refusal_of(bytes(data))


def test_a_workbook_that_was_cut_off_is_refused():
    data = workbooks.of_rows(["email"], *(["anna@example.it"] for _ in range(2_000)))

    assert "damaged" in refusal_of(data[:-200])
    broken = bytearray(data)
    at = data.index(b"xl/worksheets/sheet1.xml") + 400
    broken[at : at + 50] = b"\0" * 50
    assert "damaged" in refusal_of(bytes(broken))


def test_a_text_shared_by_every_cell_of_a_row_is_not_held_for_each(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workbook, "MAX_ROW", 50_000)
    many = "".join(f'<c r="{column}2" t="s"><v>0</v></c>' for column in ("A", "B", "C"))
    data = workbooks.by_hand(
        f'<row r="1"><c r="A1" t="str"><v>a</v></c></row><row r="2">{many}</row>'
        '<row r="3"><c r="A3" t="s"><v>1</v></c></row>',
        texts=f"<si><t>{'x' * 30_000}</t></si><si><t>fine</t></si>",
    )

    _dialect, rows = read(data)

    assert [row.problem for row in rows] == ["The row is longer than 50000 characters.", ""]
    assert sum(map(len, rows[0].cells)) <= 50_000


def test_more_text_than_memory_is_ours_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workbook, "MAX_TEXTS", 100_000)
    rows = [["email"], *([f"person{number:06}@example.it"] for number in range(5_000))]

    assert "too much text" in refusal_of(workbooks.of_rows(*rows))


def test_the_bounds_are_what_the_documents_promise():
    assert table.MAX_ROW == 1024 * 1024
    assert archive.MAX_RATIO == 200


MEMORY_OF_READING = """
import resource, sys
import django
django.setup()
from customers.imports import reader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as file:
    dialect = reader.sniff(file)
    count = sum(1 for _ in reader.rows(file, dialect))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_long_sheet_is_read_in_little_memory(tmp_path: Path):
    path = tmp_path / "long.xlsx"
    book = xlsxwriter.Workbook(path, {"constant_memory": True})
    sheet = book.add_worksheet()
    for number in range(50_000):
        sheet.write_row(
            number, 0, ["email", "name", "code"] if not number else [f"p{number}@b.it", "Anna", number]
        )
    book.close()

    done = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_READING, path], check=True, capture_output=True, text=True
    )

    count, megabytes = map(int, done.stdout.split())
    assert count == 49_999
    assert megabytes < 20
