"""A report for programs: JSON and CSV.

It knows how each kind of value is written there; null521.console.tables has them for people. It
must not know what the tables say.
"""

import csv
import json
import sys
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

from null521.console.tables import Bar, Cell, Moment, Span, Table

# A cell that begins with one of these may be a formula to a spreadsheet, also in full width.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_json(facts: dict[str, Cell], tables: Iterable[Table], notes: list[str]) -> None:
    """Print one object: the facts, a list of objects for each table, and the notes."""
    whole: dict[str, object] = {name: _value(cell) for name, cell in facts.items()}
    for table in tables:
        lines = [zip(table.columns, row, strict=True) for row in table.rows]
        whole[table.name] = [
            {column: _value(cell) for column, cell in line if not isinstance(cell, Bar)}
            for line in lines
        ]
    print(json.dumps(whole | {"notes": notes}, indent=2))


def as_csv(table: Table) -> None:
    """Print it as CSV (RFC 4180) with a header line.

    A client chooses its own words, so a cell that a spreadsheet would run as a formula gets a "'"
    in front of it, and all cells are quoted, which keeps a ";" in one from ending it (OWASP, "CSV
    Injection").
    """
    kept = [number for number, column in enumerate(table.columns) if column != "bar"]
    lines = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL)
    lines.writerow([table.columns[number] for number in kept])
    for row in table.rows:
        lines.writerow([_field(row[number]) for number in kept])


def _field(cell: Cell) -> str:
    value = _value(cell)
    if isinstance(value, str) and _begins(value) in FORMULA:
        return "'" + value
    if value is None or isinstance(value, list):
        return " or ".join(value or [])
    return "<>" if value == "" else str(value)


def _begins(value: str) -> str:
    """The character that a spreadsheet may go by, in its plain form."""
    return unicodedata.normalize("NFKC", value.lstrip(" ")[:1])


def _value(cell: Cell) -> str | int | float | list[str] | None:
    """Times as ISO 8601 in UTC, spans in whole seconds."""
    if isinstance(cell, Moment):
        return datetime.fromtimestamp(cell, UTC).isoformat(timespec="milliseconds")
    if isinstance(cell, tuple):
        return list(cell)
    return round(cell) if isinstance(cell, Span) else cell
