"""What `null521 check --local` has found: one page for people, or JSON.

It knows how parts are shown. It must not know how they were found, nor judge them.
"""

import contextlib
import json
import sys
from typing import Any

from null521.console import tables
from null521.console.tables import Cell, Table
from null521.local.parts import FAULT, OK, UNKNOWN, Part

STYLES = {OK: "green", FAULT: "red", UNKNOWN: "yellow"}
SAME = " "  # in place of what the row above says


def show(status: int, summary: str, parts: list[Part], versions: dict[str, str],
         as_json: bool) -> None:  # fmt: skip
    """Print it on standard output; with rich on a terminal, if rich is installed."""
    if as_json:
        print(json.dumps(as_object(status, summary, parts, versions), indent=2))
        return
    page = [table(parts, versions)]
    notes = faults(parts)
    if sys.stdout is not None and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            tables.rich(summary, page, notes, STYLES, soft_wrap=True)
            return
    tables.plain(summary, page, notes)


def table(parts: list[Part], versions: dict[str, str]) -> Table:
    """A row for each line of each part, and the versions below."""
    rows: list[tuple[Cell, ...]] = []
    for part in parts:
        lines = part.found or part.unknown or part.faults
        rows += _rows(part.name, part.state, lines)
    rows += _rows("versions", SAME, [f"{name} {text or 'none'}" for name, text in versions.items()])
    return Table("parts", "", "", ("part", "state", "found"), rows)


def _rows(name: str, state: str, lines: list[str]) -> list[tuple[Cell, ...]]:
    return [(SAME, SAME, line) if at else (name, state, line) for at, line in enumerate(lines)]


def faults(parts: list[Part]) -> list[str]:
    """All faults in one note, and in another what could not be seen."""
    wrong = [f"fault: {line}" for part in parts for line in part.faults]
    hidden = [f"unknown: {line}" for part in parts for line in part.unknown]
    return ["\n".join(lines) for lines in (wrong, hidden) if lines]


def as_object(
    status: int, summary: str, parts: list[Part], versions: dict[str, str]
) -> dict[str, Any]:
    """Everything, for JSON; the documentation lists the keys."""
    return {
        "status": status,
        "answer": summary,
        "faults": [line for part in parts for line in part.faults],
        "unknown": [line for part in parts for line in part.unknown],
        "parts": {
            part.name: {"state": part.state, "found": part.found, **part.data} for part in parts
        },
        "versions": versions,
    }
