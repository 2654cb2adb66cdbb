"""What `null521 check` has found, for people and as JSON.

It knows how to lay that out. It must not know how it was found, nor judge it. What a host or DNS
said is shown in ASCII, with all else escaped, and is never taken for markup.
"""

import contextlib
import json
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from null521.check import prediction
from null521.check.probe import Answers
from null521.check.verdict import DOES_NOT, REFUSES, UNCLEAR, Finding

if TYPE_CHECKING:
    from null521.check.mx import Zone
    from null521.check.prediction import Prediction

WORST_LAST = (REFUSES, UNCLEAR, DOES_NOT)
MAX_TEXT = 512  # characters of a reply in JSON: RFC 5321, 4.5.3.1.5, for each line
STYLES = {
    prediction.AT_ONCE: "green",
    prediction.FIRST: "yellow",
    prediction.KEEPS: "red",
    "does not": "red",
}


@dataclass
class Checked:
    """All there is on a host.

    addresses: one for each that was asked; left_out: those that were not, for they are too many.
    trouble: why there is no address. zone: what DNS says, if that was asked; no_zone: why not.
    """

    label: str
    host: str
    port: int
    addresses: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    trouble: str = ""
    zone: "Zone | None" = None
    no_zone: str = ""

    @property
    def judged(self) -> list[Finding]:
        """Those addresses that count: where one can be reached from here, others need not be."""
        within_reach = [found for found in self.addresses if not found.answers.no_way]
        return within_reach or self.addresses

    @property
    def status(self) -> int:
        """The exit status: the worst of all addresses, for senders may take any of them."""
        if not self.addresses:
            return UNCLEAR
        return max((found.verdict.status for found in self.judged), key=WORST_LAST.index)


class Table(NamedTuple):
    """A header, and rows of as many cells."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def show(found: Checked, as_json: bool, in_full: bool) -> None:
    """Print it on standard output: as JSON, in full (with rich if that is there), or in short."""
    if as_json:
        print(json.dumps(as_object(found), indent=2))
        return
    on_terminal = sys.stdout.isatty()
    answer, faults = answers(found), faults_of(found)
    if not (in_full or on_terminal):
        print("\n".join(answer + faults))
        return
    tables = [addresses(found)] if found.addresses else []
    groups = predictions(found)
    tables += [senders(group, several=len(groups) > 1) for group in groups]
    notes = [f"DNS: {note}" for note in found.zone.notes] if found.zone else []
    if found.status == REFUSES and not groups:
        notes.append("what senders do where a host hangs up like that, nobody has tried")
    if on_terminal:
        with contextlib.suppress(ImportError):
            rich(answer, tables, notes + faults)
            return
    plain(answer, tables, notes + faults)


def answers(found: Checked) -> list[str]:
    """The answer in one line, or one for each address where they differ, from the worst on."""
    if found.trouble:
        return [f"{found.label}: could not tell: {found.trouble}"]
    ranked = sorted(found.addresses, key=lambda one: one.verdict.status != found.status)
    if len({one.verdict[:3] for one in ranked}) == 1:
        return [ranked[0].verdict.of(found.label)]
    return [one.verdict.of(f"{found.label} at {one.address}") for one in ranked]


def faults_of(found: Checked) -> list[str]:
    """A line for each thing that is not as it should be, besides the answer."""
    lines = [f"{one.address}: {one.fault}" for one in found.addresses if one.fault]
    if found.left_out:
        lines.append(f"not asked, for they are too many: {', '.join(found.left_out[:8])}")
    if found.no_zone:
        lines.append(f"DNS: {found.no_zone}")
    if found.zone:
        lines += [f"DNS: {fault}" for fault in found.zone.faults]
        if found.zone.trouble:
            lines.append(f"DNS: {found.zone.trouble}")
        if found.zone.record:
            lines.append(f"DNS: to be published, if no mail is wanted: {found.zone.record}")
    return lines


def addresses(found: Checked) -> Table:
    """What each of them does, and how soon."""
    header = "address, refuses at, from there on, greeting, refusal, STARTTLS and certificate"
    return Table("", tuple(header.split(", ")), [_row(one) for one in found.addresses])


def _row(one: Finding) -> tuple[str, ...]:
    status, stage, taken, _ = one.verdict
    and_then = "always 521" if stage else ""
    if taken:
        and_then = f"not to {', '.join(taken)}"
    elif stage and one.answers.trouble:
        and_then = "hangs up" if one.answers.has_hung_up else "no answer"
    soon = [f"{after * 1000:.0f} ms" if after else "" for after in _seconds(one).values()]
    never = "does not" if status == DOES_NOT else "?"
    return (one.address, stage or never, and_then, *soon, _starttls(one))


def _seconds(one: Finding) -> dict[str, float | None]:
    """From the beginning of the connection to the greeting, and to the first 521."""
    replies = list(one.answers.replies.values())
    refusals = (reply.seconds for reply in replies if reply.code == 521)
    return {"greeting": replies[0].seconds if replies else None, "refusal": next(refusals, None)}


def _starttls(one: Finding) -> str:
    if one.secured is None:
        return "not offered" if "EHLO" in one.answers.replies else ""
    if one.secured.tls is None:
        return "fails"
    version, before, after = one.secured.tls
    return f"{version}, {_date(before)} to {_date(after)}"


def _date(text: str) -> str:
    """Of YYYYMMDDHHMMSSZ, the day; of anything else nothing, for a host may say what it likes."""
    if text.isascii() and text[:8].isdigit() and len(text) == 15:
        return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    return "?"


class Group(NamedTuple):
    """What senders are predicted to do: why, at which addresses, and each of them."""

    because: str
    addresses: list[str]
    senders: "list[Prediction]"


def predictions(found: Checked) -> list[Group]:
    """One for each way in which the host refuses; or because of its null MX, which comes first."""
    if found.zone and found.zone.null_mx:
        return [Group("they see the null MX", [], prediction.null_mx())]
    ways: dict[tuple[str, bool], list[str]] = {}
    for one in found.judged:
        stage = one.verdict.stage
        # Nobody has tried it where a host hangs up later than at its greeting.
        if one.verdict.status == REFUSES and not (one.answers.has_hung_up and stage != "greeting"):
            ways.setdefault((stage, one.has_tls), []).append(one.address)
    return [
        Group(
            f"refused at {stage}, with{'' if has_tls else 'out'} STARTTLS",
            places,
            prediction.at_stage(stage, has_tls),
        )
        for (stage, has_tls), places in ways.items()
    ]


def senders(group: Group, several: bool) -> Table:
    """What they will do, at the group's addresses if there are several groups."""
    at = f", at {', '.join(group.addresses)}" if several else ""
    title = f"What senders do if {group.because}{at}:"
    header = ("sender", "as it comes", "where it insists on TLS")
    return Table(title, header, [tuple(one) for one in group.senders])


def plain(answer: list[str], tables: list[Table], remarks: list[str]) -> None:
    """As text alone."""
    print("\n".join(answer))
    for title, header, rows in tables:
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        print(f"\n{title}" if title else "")
        for row in (header, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
    if remarks:
        print("\n".join(["", *remarks]))


def rich(answer: list[str], tables: list[Table], remarks: list[str]) -> None:
    """As rich has tables; ImportError without it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)
    for line in answer:
        console.print(Text(line, style="bold"), soft_wrap=True)
    for title, header, rows in tables:
        console.print(Text(f"\n{title}" if title else ""))
        grid = Grid(box=SIMPLE_HEAD)
        for cell in header:
            grid.add_column(Text(cell))
        for row in rows:
            grid.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        console.print(grid)
    for line in remarks:
        console.print(Text(line), soft_wrap=True)


def as_object(found: Checked) -> dict[str, Any]:
    """All of it, for JSON; the README lists the keys."""
    return {
        "host": found.host,
        "port": found.port,
        "status": found.status,
        "answer": answers(found),
        "addresses": [_address(one) for one in found.addresses],
        "not_asked": found.left_out,
        "senders": [
            {**group._asdict(), "senders": [sender._asdict() for sender in group.senders]}
            for group in predictions(found)
        ],
        "dns": found.zone and asdict(found.zone),
        "faults": faults_of(found),
    }


def _address(one: Finding) -> dict[str, Any]:
    status, stage, taken, _ = one.verdict
    return {
        "address": one.address,
        "status": status,
        "stage": stage or None,
        "not_refused": taken,
        "hangs_up": one.answers.has_hung_up,
        "trouble": one.answers.trouble,
        "seconds": _seconds(one),
        "replies": _replies(one.answers),
        "starttls": one.secured
        and {
            "tls": one.secured.tls and one.secured.tls._asdict(),
            "trouble": one.secured.trouble,
            "replies": _replies(one.secured),
        },
    }


def _replies(answers: Answers) -> dict[str, Any]:
    return {
        command: {"code": code, "text": "\n".join(lines)[:MAX_TEXT], "seconds": seconds}
        for command, (code, lines, seconds) in answers.replies.items()
    }
