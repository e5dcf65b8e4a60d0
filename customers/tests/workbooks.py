"""Workbooks for the tests: good ones by XlsxWriter, hostile ones by hand."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import xlsxwriter

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORKBOOK = (
    f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATIONS}"><sheets>'
    '<sheet name="People" sheetId="1" r:id="rId1"/></sheets></workbook>'
)
RELATIONSHIPS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{RELATIONS}/sharedStrings" Target="sharedStrings.xml"/>'
    "</Relationships>"
)


def written(fill: Callable[[xlsxwriter.Workbook], None], **options: Any) -> bytes:
    """A workbook filled by a function."""
    file = io.BytesIO()
    workbook = xlsxwriter.Workbook(file, {"in_memory": True, "strings_to_numbers": False, **options})
    fill(workbook)
    workbook.close()
    return file.getvalue()


def of_rows(*rows: list[Any], name: str = "People") -> bytes:
    """A workbook with one sheet of these rows."""

    def fill(workbook: xlsxwriter.Workbook) -> None:
        sheet = workbook.add_worksheet(name)
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)

    return written(fill)


def by_hand(sheet: str, *, texts: str = "", more: dict[str, bytes] | None = None) -> bytes:
    """A workbook whose sheet data and shared texts are this XML, and whatever else."""
    parts = {
        "xl/workbook.xml": WORKBOOK.encode(),
        "xl/_rels/workbook.xml.rels": RELATIONSHIPS.encode(),
        "xl/worksheets/sheet1.xml": sheet_xml(sheet).encode(),
        "xl/sharedStrings.xml": f'<sst xmlns="{NAMESPACE}">{texts}</sst>'.encode(),
    }
    return zipped(parts | (more or {}))


def sheet_xml(rows: str) -> str:
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{rows}</sheetData></worksheet>'


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()
