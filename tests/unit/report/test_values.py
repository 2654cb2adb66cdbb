"""JSON and CSV, read back by the libraries that other programs use."""

import csv
import io
import json

import pytest

from null521.console.tables import Bar, Cell, Moment, Span, Table
from null521.report import values

CELLS: list[tuple[Cell, object, str]] = [
    ("text", "text", "text"),
    ("ж, \"x\"\n'y'", "ж, \"x\"\n'y'", "ж, \"x\"\n'y'"),
    ("", "", "<>"),
    (None, None, ""),
    (7, 7, "7"),
    (0, 0, "0"),
    (True, True, "True"),
    (False, False, "False"),
    (Moment(1767225600.25), "2026-01-01T00:00:00.250+00:00", "2026-01-01T00:00:00.250+00:00"),
    (Moment(0), "1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:00.000+00:00"),
    (Span(90.6), 91, "91"),
    (Span(0), 0, "0"),
    (("Postfix", "Exim"), ["Postfix", "Exim"], "Postfix or Exim"),
    ((), [], ""),
    ("=1+1", "=1+1", "'=1+1"),
    ("+1", "+1", "'+1"),
    ("-1", "-1", "'-1"),
    ("@SUM(1)", "@SUM(1)", "'@SUM(1)"),
    ("a=b", "a=b", "a=b"),
    ("X=1", "X=1", "X=1"),
    ("\uff1d1+1", "\uff1d1+1", "'\uff1d1+1"),
    ("\uff0b1", "\uff0b1", "'\uff0b1"),
    ("\uff0d1", "\uff0d1", "'\uff0d1"),
    ("\uff20SUM(1)", "\uff20SUM(1)", "'\uff20SUM(1)"),
    ("\ufe66\ufe62", "\ufe66\ufe62", "'\ufe66\ufe62"),
    ("\t=1+1", "\t=1+1", "'\t=1+1"),
    ("\r=1+1", "\r=1+1", "'\r=1+1"),
    ("\n=1+1", "\n=1+1", "'\n=1+1"),
    ("  =1+1", "  =1+1", "'  =1+1"),
    (" a", " a", " a"),
    (" ", " ", " "),
    (-1, -1, "-1"),
]


def table(*rows: tuple[Cell, ...]) -> Table:
    return Table("name", "Title", "Nothing.", ("first", "bar", "last"), list(rows))


def printed_csv(capsys: pytest.CaptureFixture[str], *rows: tuple[Cell, ...]) -> str:
    values.as_csv(table(*rows))
    return capsys.readouterr().out


@pytest.mark.parametrize(("cell", "in_json", "in_csv"), CELLS)
def test_each_kind_of_cell(
    cell: Cell, in_json: object, in_csv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values.as_json({"fact": cell}, [table((cell, Bar(0.5), "x"))], [])
    document = json.loads(capsys.readouterr().out)
    assert document == {"fact": in_json, "name": [{"first": in_json, "last": "x"}], "notes": []}
    text = printed_csv(capsys, (cell, Bar(0.5), "x"))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["first", "last"], [in_csv, "x"]]


def test_json_is_one_object_in_the_order_given(capsys: pytest.CaptureFixture[str]) -> None:
    other = Table("other", "", "", ("x",), [])
    values.as_json({"by": "helo"}, [table((1, Bar(1), "é"), (2, Bar(0), None)), other], ["Note."])
    assert capsys.readouterr().out == (
        "{\n"
        '  "by": "helo",\n'
        '  "name": [\n'
        '    {\n      "first": 1,\n      "last": "\\u00e9"\n    },\n'
        '    {\n      "first": 2,\n      "last": null\n    }\n'
        "  ],\n"
        '  "other": [],\n'
        '  "notes": [\n    "Note."\n  ]\n'
        "}\n"
    )


def test_csv_has_a_header_and_the_line_ends_of_rfc_4180(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed_csv(capsys) == '"first","last"\r\n'
    text = printed_csv(capsys, ("a,b", Bar(1), 'c"d'), (None, Bar(0), 2))
    assert text == '"first","last"\r\n"a,b","c""d"\r\n"","2"\r\n'


def test_csv_has_no_cell_that_another_separator_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Spreadsheets of half of Europe separate by semicolons, and some by tabs."""
    text = printed_csv(capsys, ("mx;=1+1", Bar(1), "mx\t=1+1"))
    assert text.splitlines()[1] == '"mx;=1+1","mx\t=1+1"'
    (cell,) = next(csv.reader(io.StringIO('"mx;=1+1"'), delimiter=";"))
    assert cell == "mx;=1+1"


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="zip"):
        values.as_json({}, [table(("too", "few"))], [])
