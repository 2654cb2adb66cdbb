"""Tables as the programs print them for people, in plain text or with rich.

It knows what each kind of value looks like. It must not know what the tables say.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple


class Moment(float):
    """Seconds since the epoch."""


class Span(float):
    """Seconds."""


class Bar(float):
    """The length of a bar as a fraction of the longest one, from 0 to 1; for people only."""


# None means not known; "" is the null reverse-path (RFC 5321, 4.5.5).
Cell = str | int | bool | Moment | Span | Bar | tuple[str, ...] | None

BAR = 30  # characters
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
NO_STYLES: Mapping[str, str] = {}


class Table(NamedTuple):
    """Rows under one title, which may be ""; `without` is printed instead if there are no rows.

    name: its key in JSON. columns: their keys in JSON; heading() makes the headings from them.
    stacked: so many columns are printed below one another, if there are more, where the terminal is
    too narrow for the table; and half of them where only the last column has room to break.
    """

    name: str
    title: str
    without: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    stacked: int = 3


def text(cell: Cell) -> str:
    """The value for people; times are local."""
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
    """A length of time in its two largest units, as "1h 6min"."""
    rest, parts = round(seconds), []
    for unit, size in UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
        rest %= size
    return " ".join(parts[:2]) or "0s"


def plain(summary: str, tables: Iterable[Table], notes: Sequence[str]) -> None:
    """Print them as text alone, the columns padded with blanks."""
    print(summary)
    for table in tables:
        print(f"\n{table.title}\n" if table.title else "")
        if not table.rows:
            print(table.without)
            continue
        headings = [heading(column) for column in table.columns]
        lines = [headings, *([text(cell) for cell in row] for row in table.rows)]
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


def rich(
    summary: str,
    tables: Iterable[Table],
    notes: Sequence[str],
    styles: Mapping[str, str] = NO_STYLES,
    soft_wrap: bool = False,
) -> None:
    """Print them as tables of rich; ImportError if rich is not installed.

    styles: rich's style for each text of a cell that has one. soft_wrap: leave long lines of the
    summary and the notes to the terminal, from which they can then be copied in one piece.
    """
    from rich.bar import Bar as RichBar
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    def renderable(cells: tuple[Cell, ...]) -> Text | RichBar:
        if isinstance(cells[0], Bar):
            return RichBar(1, 0, cells[0], width=BAR)
        lines = map(text, cells)
        return Text("\n").join(Text(line, styles.get(line, "")) for line in lines)

    def grid(table: Table, stacked: int) -> RichTable:
        """The table with so many columns below one another in each column of rich's."""
        title = Text(table.title, "bold") if table.title else None
        drawn = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD)
        starts = range(0, len(table.columns), stacked)
        for start in starts:
            headings = map(heading, table.columns[start : start + stacked])
            right = stacked == 1 and numeric(table.rows[0][start])
            justify: Any = "right" if right else "left"
            drawn.add_column(Text("\n".join(headings)), justify=justify, overflow="fold")
        for row in table.rows:
            drawn.add_row(
                *(renderable(row[start : start + stacked]) for start in starts),
                end_section=stacked > 1,
            )
        return drawn

    def is_too_wide(drawn: RichTable) -> bool:
        unlimited = console.options.update(max_width=10000)
        return console.measure(drawn, options=unlimited).maximum > console.width

    # What a client or a host has said must not be read as rich's own "[bold]" or ":smile:".
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(Text(summary, "bold"), soft_wrap=soft_wrap)
    for table in tables:
        console.print()
        if not table.rows:
            console.print(Text(f"{table.title}: {table.without}"))
            continue
        drawn = grid(table, 1)
        if len(table.columns) > table.stacked and is_too_wide(drawn):
            drawn = grid(table, table.stacked)
            half = (len(table.columns) + 1) // 2
            # The last column may be of sentences, which can break between words.
            words = [
                (*row[:-1], max(text(row[-1]).split(), key=len, default="")) for row in table.rows
            ]
            if half > table.stacked and is_too_wide(
                grid(table._replace(rows=words), table.stacked)
            ):
                drawn = grid(table, half)
        console.print(drawn)
    for note in notes:
        console.print(Text(note, "italic"), soft_wrap=soft_wrap)


def heading(column: str) -> str:
    """The heading of a column, from its key."""
    return column.replace("_", " ").upper()


def numeric(cell: Cell) -> bool:
    """Whether the cell is aligned to the right."""
    return type(cell) in (int, Span)
