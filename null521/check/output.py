"""What `null521 check` has found, for people and as JSON.

It knows which facts are shown, and under which name. It must not know how they were found, nor
judge them. What a host or DNS has said is shown as ASCII, with everything else escaped.
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from null521.check import prediction
from null521.check.advice import is_self_signed
from null521.check.probe import Answers
from null521.check.remarks import ADVICE, FAULT, NOTE, Remark
from null521.check.verdict import DOES_NOT, REFUSES, UNDETERMINED, Finding
from null521.console import tables
from null521.console.tables import Cell, Table

if TYPE_CHECKING:
    from null521.check.mx import MxFindings
    from null521.check.prediction import Prediction

WORST_LAST = (REFUSES, UNDETERMINED, DOES_NOT)
FAULTY = 3  # with --strict, the exit status of a host that refuses, but has a fault
MAX_TEXT = 512  # characters of a reply in JSON: RFC 5321, 4.5.3.1.5, for each line
NEVER = "does not"
STYLES = {
    prediction.AT_ONCE: "green",
    prediction.FIRST: "yellow",
    prediction.QUEUES: "red",
    NEVER: "red",
}


@dataclass
class Result:
    """Everything that was found about a host.

    addresses: one finding for each address that was asked. left_out: the addresses that were not,
    because there are too many. trouble: why there is no address, or "".
    dns: what DNS says, None if it was not asked. no_dns: why it could not be asked, or "".
    remarks: what is to say about all of that. strict: whether faults change the exit status.
    """

    label: str
    host: str
    port: int
    addresses: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    trouble: str = ""
    dns: "MxFindings | None" = None
    no_dns: str = ""
    remarks: list[Remark] = field(default_factory=list)
    strict: bool = False

    @property
    def judged(self) -> list[Finding]:
        """The addresses that count: those without a route count only if there are no others."""
        reachable = [finding for finding in self.addresses if not finding.answers.unreachable]
        return reachable or self.addresses

    @property
    def status(self) -> int:
        """The worst status of all addresses, because a sender may use any of them."""
        if not self.addresses:
            return UNDETERMINED
        return max((finding.verdict.status for finding in self.judged), key=WORST_LAST.index)

    @property
    def exit_status(self) -> int:
        """That status; or FAULTY, if strict, for a host that refuses but has a fault."""
        is_faulty = any(remark.level == FAULT for remark in self.remarks)
        return FAULTY if self.strict and is_faulty and self.status == REFUSES else self.status


def show(result: Result, as_json: bool, verbose: bool) -> None:
    """Print it on standard output: as JSON, in full (with rich if installed), or in brief."""
    if as_json:
        print(json.dumps(as_object(result), indent=2))
        return
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    if not (verbose or on_terminal):
        print("\n".join(answers(result) + faults(result)))
        return
    groups = predictions(result)
    shown = [addresses(result)] if result.addresses else []
    shown += [senders(group, several=len(groups) > 1) for group in groups]
    lines = [remark.line for remark in result.remarks if remark.level == NOTE]
    if result.status == REFUSES and not groups:
        lines.append("no prediction: senders were not measured with a host that hangs up like that")
    lines += faults(result)
    summary, notes = "\n".join(answers(result)), ["\n".join(lines)] if lines else []
    if on_terminal:
        with contextlib.suppress(ImportError):
            tables.rich(summary, shown, notes, STYLES, soft_wrap=True)
            return
    tables.plain(summary, shown, notes)


def answers(result: Result) -> list[str]:
    """The answer in one line, or one line for each address if they differ, the worst first."""
    if result.trouble:
        return [f"{result.label}: undetermined: {result.trouble}"]
    ranked = sorted(result.addresses, key=lambda one: one.verdict.status != result.status)
    kinds = {(one.verdict.status, one.verdict.stage, one.verdict.not_refused) for one in ranked}
    if len(kinds) == 1:
        return [ranked[0].verdict.of(result.label)]
    return [one.verdict.of(f"{result.label} at {one.address}") for one in ranked]


def faults(result: Result) -> list[str]:
    """A line for each remark that is printed in brief."""
    return [remark.line for remark in result.remarks if remark.level != NOTE]


def addresses(result: Result) -> Table:
    """What each address does, and how soon."""
    columns = ("address", "refuses_at", "then", "greeting", "refusal", "starttls")
    return Table("addresses", "", "", columns, [_row(one) for one in result.addresses])


def _row(one: Finding) -> tuple[Cell, ...]:
    verdict = one.verdict
    then = "always 521" if verdict.stage else None
    if verdict.not_refused:
        then = f"not to {', '.join(verdict.not_refused)}"
    elif verdict.stage and one.answers.trouble:
        then = "hangs up" if one.answers.has_hung_up else "no answer"
    times = [
        None if after is None else f"{after * 1000:.0f} ms" for after in _seconds(one).values()
    ]
    never = NEVER if verdict.status == DOES_NOT else None
    return (one.address, verdict.stage or never, then, *times, _starttls(one))


def _seconds(one: Finding) -> dict[str, float | None]:
    """Seconds from the start of the connection to the greeting, and to the first 521."""
    replies = list(one.answers.replies.values())
    refusals = (reply.seconds for reply in replies if reply.code == 521)
    return {"greeting": replies[0].seconds if replies else None, "refusal": next(refusals, None)}


def _starttls(one: Finding) -> str | None:
    if one.secured is None:
        return "not offered" if "EHLO" in one.answers.replies else None
    if one.secured.tls is None:
        return "fails"
    version, before, after = one.secured.tls
    return f"{version}, {_date(before)} to {_date(after)}"


def _date(text: str) -> str:
    """The day of YYYYMMDDHHMMSSZ; "?" for anything else, which a hostile host may send."""
    if text.isascii() and text[:-1].isdigit() and len(text) == 15:
        return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    return "?"


class Group(NamedTuple):
    """What senders are predicted to do: why, at which addresses, and each of them."""

    because: str
    addresses: list[str]
    senders: "list[Prediction]"


def predictions(result: Result) -> list[Group]:
    """One group for each way in which the host refuses, or a single one if it has a null MX."""
    if result.dns and result.dns.null_mx:
        return [Group("they see the null MX", [], prediction.null_mx())]
    ways: dict[tuple[str, bool], list[str]] = {}
    for one in result.judged:
        stage = one.verdict.stage
        # Senders were not measured with a host that hangs up later than at its greeting.
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
    """What they will do; if there are several groups, the title names the group's addresses."""
    at = f", at {', '.join(group.addresses)}" if several else ""
    title = f"What senders do if {group.because}{at}"
    columns = ("sender", "by_default", "if_it_requires_tls")
    return Table("senders", title, "", columns, [tuple(one) for one in group.senders])


def as_object(result: Result) -> dict[str, Any]:
    """Everything, for JSON; the documentation lists the keys."""
    return {
        "host": result.host,
        "port": result.port,
        "status": result.exit_status,
        "answer": answers(result),
        "addresses": [_address(one) for one in result.addresses],
        "not_asked": result.left_out,
        "senders": [
            {**group._asdict(), "senders": [sender._asdict() for sender in group.senders]}
            for group in predictions(result)
        ],
        "dns": result.dns and _dns(result.dns),
        "remarks": [
            {
                "name": remark.name,
                "level": remark.level,
                "about": remark.about,
                "text": remark.text,
                "senders": remark.senders,
            }
            for remark in result.remarks
        ],
        "faults": faults(result),
    }


def _dns(found: "MxFindings") -> dict[str, Any]:
    return {
        "name": found.name,
        "mx": found.mx,
        "null_mx": found.null_mx,
        "spf": found.spf,
        "tlsa": found.tlsa
        and {
            "name": found.tlsa.name,
            "records": [str(record) for record in found.tlsa.records],
            "ad": found.tlsa.is_authentic,
        },
        "faults": [one.text for one in found.remarks if one.level in (FAULT, ADVICE)],
        "notes": [one.text for one in found.remarks if one.level == NOTE],
        "record": found.record,
        "condition": found.condition,
        "trouble": found.trouble,
    }


def _address(one: Finding) -> dict[str, Any]:
    return {
        "address": one.address,
        "status": one.verdict.status,
        "stage": one.verdict.stage or None,
        "not_refused": one.verdict.not_refused,
        "hangs_up": one.answers.has_hung_up,
        "trouble": one.answers.trouble,
        "seconds": _seconds(one),
        "replies": _replies(one.answers),
        "starttls": one.secured
        and {
            "tls": one.secured.tls and one.secured.tls._asdict(),
            "self_signed": is_self_signed(one.secured.chain),
            "trouble": one.secured.trouble,
            "replies": _replies(one.secured),
        },
    }


def _replies(answers: Answers) -> dict[str, Any]:
    return {
        command: {"code": code, "text": "\n".join(lines)[:MAX_TEXT], "seconds": seconds}
        for command, (code, lines, seconds) in answers.replies.items()
    }
