"""A sheet on its way through LibreOffice: opened, filled, and saved in the ways people do.

By hand, where LibreOffice is: ``pytest -m slow tests/labeling/test_spreadsheet.py``
(Debian: ``apt-get install --no-install-recommends libreoffice-calc``).
"""

import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from skal.labeling._protocol import parse_number
from skal.labeling._sheet import CHECK, ROW, check_of, read_sheet, write_sheet

pytestmark = pytest.mark.slow
NAMES = ["code", "text", "label", "size", "day", "serial"]
ROWS = [
    ["001", "=1+1", "", "1.5", "2026-01-02", "12345678901234567890"],
    ["002", "two\nlines, a comma; a semicolon", "", "-3", "3/4", "1e5"],
    ["003", "Ünï ☃", "", "+49 30", "TRUE", "0012"],
    ["004", "@SUM(A1)", "", "1,5", "=cmd|' /C calc'!A0", "-"],
]
DIGESTS = [bytes.fromhex(start + "00" * 14) for start in ("1e23", "0012", "dec1", "feb2")]
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
# Separator, quote, character set, first line, column formats, language (1031 is German).
COMMA, GERMAN = "44,34,76,1,,1033,false,true", "59,34,76,1,,1031,false,true"
OLD_GERMAN = "59,34,1,1,,1031,false,true"  # as Windows-1252
TAB = "9,34,76,1,,1033,false,true"


@pytest.fixture
def office(tmp_path):
    """Convert a file by a headless LibreOffice with a profile of its own."""
    if shutil.which("soffice") is None:
        pytest.skip("needs LibreOffice Calc")

    def convert(path, to, folder, *more):
        subprocess.run(
            [
                "soffice",
                "--headless",
                f"-env:UserInstallation=file://{tmp_path}/profile",
                *more,
                "--convert-to",
                to,
                "--outdir",
                folder,
                path,
            ],
            check=True,
            capture_output=True,
            timeout=180,
        )
        return folder / f"{path.stem}.{to[:4].rstrip(':')}"

    return convert


def cells_of(row):
    """The cells of a row, one element each."""
    for cell in list(row):
        times = int(cell.attrib.pop(f"{{{TABLE}}}number-columns-repeated", 1))
        if times < 100:
            place = list(row).index(cell)
            for _ in range(times - 1):
                row.insert(place, ET.fromstring(ET.tostring(cell)))
    return list(row)


def type_into(path, column, values):
    """Fill a column as somebody who types: numbers become numbers, the rest is text."""
    for _, (prefix, name) in ET.iterparse(path, events=["start-ns"]):
        ET.register_namespace(prefix, name)  # the program looks for the usual prefixes
    tree = ET.parse(path)
    rows = list(tree.getroot().iter(f"{{{TABLE}}}table-row"))
    used = rows[: len(values) + 1]
    shown = [["".join(cell.itertext()).strip() for cell in cells_of(row)] for row in used]
    place = shown[0].index(column)
    for row, value in zip(rows[1:], values, strict=False):
        if value is None:
            continue
        cell = list(row)[place]
        cell.clear()
        if isinstance(value, float):
            cell.set(f"{{{OFFICE}}}value-type", "float")
            cell.set(f"{{{OFFICE}}}value", repr(value))
        else:
            cell.set(f"{{{OFFICE}}}value-type", "string")
        ET.SubElement(cell, f"{{{TEXT}}}p").text = str(value)
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return shown


# Opened without a look at the encoding (as Windows-1252), or as what it is.
@pytest.mark.parametrize("opening", [[], ["--infilter=CSV:44,34,76,1"]])
@pytest.mark.parametrize("how", [COMMA, GERMAN, OLD_GERMAN, TAB])
def test_a_sheet_goes_through_libreoffice(office, tmp_path, opening, how):
    path = tmp_path / "data.ask.csv"
    write_sheet(path, NAMES, ROWS, [7, 8, 9, 10], DIGESTS, "label", "code")
    opened = office(path, "fods", tmp_path, *opening)
    values = [1250.5, "?", None, -3.0]
    shown = type_into(opened, "label", values)
    assert shown[0][1:4] == [CHECK, "code", "label"] and shown[0][0].endswith(ROW)
    # No cell has become a formula.
    assert "table:formula" not in opened.read_text(encoding="utf-8")
    (tmp_path / "saved").mkdir()
    saved = office(opened, f"csv:Text - txt - csv (StarCalc):{how}", tmp_path / "saved")
    # The spreadsheet has rewritten what it likes to: that is why other columns are not read back.
    assert b"12345678901234567890" not in saved.read_bytes()
    answers = read_sheet(saved, "label", lambda text, comma: parse_number(text))
    assert [(one.position, one.label) for one in answers] == [(7, 1250.5), (8, None), (10, -3)]
    assert [one.check for one in answers] == [check_of(DIGESTS[place]) for place in (0, 1, 3)]


@pytest.mark.parametrize("how", [COMMA, GERMAN])
def test_words_go_through_libreoffice(office, tmp_path, how):
    path = tmp_path / "data.ask.csv"
    write_sheet(path, NAMES, ROWS, [7, 8, 9, 10], DIGESTS, "label", "code")
    opened = office(path, "fods", tmp_path)
    type_into(opened, "label", ["Käse, alt", "dog", '"quoted"', "'s"])
    (tmp_path / "saved").mkdir()
    saved = office(opened, f"csv:Text - txt - csv (StarCalc):{how}", tmp_path / "saved")
    answers = read_sheet(saved, "label", lambda text, comma: text)
    assert [one.label for one in answers] == ["Käse, alt", "dog", '"quoted"', "'s"]
    assert [one.position for one in answers] == [7, 8, 9, 10]
