"""Tables, as a person at a terminal, a pipe, a spreadsheet or a program wants them.

It knows how each kind of value looks there. It must not know what the tables say.
"""

import csv
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Moment(float):
    """Seconds since the epoch."""


class Span(float):
    """Seconds."""


class Bar(float):
    """The part of the longest bar that this one is, from 0 to 1; for people only."""


# None is "not known"; "" is the null reverse-path.
Cell = str | int | bool | Moment | Span | Bar | tuple[str, ...] | None

BAR = 40  # characters
HIGH = 3  # columns below one another, where they have no room side by side
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Table(NamedTuple):
    """What is shown under one title; `without` is said where there are no rows."""

    name: str
    title: str
    without: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def text(cell: Cell) -> str:
    """A value as people read it; times are local."""
    match cell:
        case None | ():
            return "-"
        case "":
            return "<>"
        case tuple():
            return " or ".join(cell)
        case Bar():
            return "#" * round(cell * BAR)
        case Moment():
            return datetime.fromtimestamp(cell).strftime("%Y-%m-%d %H:%M:%S")
        case Span():
            return span(cell)
        case bool():
            return "yes" if cell else "no"
    return str(cell)


def span(seconds: float) -> str:
    """The two largest units of a length of time, as "1h 6min"."""
    rest, parts = round(seconds), []
    for unit, size in UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
        rest %= size
    return " ".join(parts[:2]) or "0s"


def plain(said: str, tables: Iterable[Table], notes: list[str]) -> None:
    """Print them in columns of blanks."""
    print(said)
    for table in tables:
        print(f"\n{table.title}\n")
        if not table.rows:
            print(table.without)
            continue
        heads = [heading(column) for column in table.columns]
        lines = [heads, *([text(cell) for cell in row] for row in table.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = [numeric(cell) for cell in table.rows[0]]
        for line in lines:
            padded = [
                word.rjust(width) if number else word.ljust(width)
                for word, width, number in zip(line, widths, right, strict=True)
            ]
            print("  ".join(padded).rstrip())
    for note in notes:
        print(f"\n{note}")


def rich(said: str, tables: Iterable[Table], notes: list[str]) -> None:
    """Print them as rich has tables; ImportError without it."""
    from rich.bar import Bar as Drawn
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    def drawn(cells: tuple[Cell, ...]) -> Text | Drawn:
        if isinstance(cells[0], Bar):
            return Drawn(1, 0, cells[0], width=BAR)
        return Text("\n".join(map(text, cells)))

    def grid(table: Table, high: int) -> Grid:
        """One in which as many columns are below one another."""
        made = Grid(title=Text(table.title, "bold"), title_justify="left", box=SIMPLE_HEAD)
        starts = range(0, len(table.columns), high)
        for start in starts:
            heads = map(heading, table.columns[start : start + high])
            right = high == 1 and numeric(table.rows[0][start])
            justify: Any = "right" if right else "left"
            made.add_column(Text("\n".join(heads)), justify=justify, overflow="fold")
        for row in table.rows:
            made.add_row(
                *(drawn(row[start : start + high]) for start in starts), end_section=high > 1
            )
        return made

    # Nothing that a client has said is to be taken for rich's own "[bold]" or ":smile:".
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(Text(said, "bold"))
    for table in tables:
        console.print()
        if not table.rows:
            console.print(Text(f"{table.title}: {table.without}"))
            continue
        made = grid(table, 1)
        wide = console.options.update(max_width=10000)
        if (
            len(table.columns) > HIGH
            and console.measure(made, options=wide).maximum > console.width
        ):
            made = grid(table, HIGH)
        console.print(made)
    for note in notes:
        console.print(Text(note, "italic"))


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
    """Print it as RFC 4180 has it, with a header line.

    What a spreadsheet would take for a formula, and a client can say what it likes, has a "'" in
    front of it (OWASP, "CSV Injection").
    """
    kept = [number for number, column in enumerate(table.columns) if column != "bar"]
    lines = csv.writer(sys.stdout)
    lines.writerow([table.columns[number] for number in kept])
    for row in table.rows:
        lines.writerow([_field(row[number]) for number in kept])


def heading(column: str) -> str:
    """A column's name for people."""
    return column.replace("_", " ").upper()


def numeric(cell: Cell) -> bool:
    """Whether it belongs at the right."""
    return type(cell) in (int, Span)


def _field(cell: Cell) -> str:
    value = _value(cell)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return "'" + value
    if value is None or isinstance(value, list):
        return " or ".join(value or [])
    return "<>" if value == "" else str(value)


def _value(cell: Cell) -> str | int | float | list[str] | None:
    """For programs: times as ISO 8601 in UTC, spans in seconds."""
    if isinstance(cell, Moment):
        return datetime.fromtimestamp(cell, UTC).isoformat(timespec="milliseconds")
    if isinstance(cell, tuple):
        return list(cell)
    return round(cell) if isinstance(cell, Span) else cell
