"""Whether what a host answers is a refusal, and as it ought to be.

It knows which commands have to be answered 521. It must not know how they were asked, nor how the
verdict is shown.
"""

from dataclasses import dataclass
from typing import NamedTuple

from null521.check.probe import NO_COMMAND, POSTMASTER, Answers, told

REFUSES, DOES_NOT, UNCLEAR = 0, 1, 2  # exit statuses

# RFC 7504, 3 has 521 in the greeting of a host that never takes mail, and RFC 1846, 4.2 has it go
# on with 521 to all but QUIT, or hang up. RFC 1846, 5 makes a 521 as final elsewhere. A host that
# refuses later goes on with 521 to all by which mail is sent or asked about, and to what it does
# not know; NOOP, RSET and what came before may be answered as ever.
LAST = ("RCPT", POSTMASTER, "DATA", "VRFY", NO_COMMAND)
REFUSED = {
    "greeting": ("greeting", "EHLO", "HELO", "MAIL", *LAST, "NOOP", "RSET"),
    "helo": ("EHLO", "HELO", "MAIL", *LAST),
    "mail": ("MAIL", *LAST),
    "rcpt": LAST,
}
STAGE_OF = {"greeting": "greeting", "EHLO": "helo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt"}


class Verdict(NamedTuple):
    """status: REFUSES, DOES_NOT or UNCLEAR.

    stage: of the first 521, "" if there was none. taken: the commands that should have been refused
    from there on, and were not. words: what to say behind a name, as of() does.
    """

    status: int
    stage: str
    taken: tuple[str, ...]
    words: str

    def of(self, name: str) -> str:
        """The verdict on what is called so, in one line."""
        return f"{name}: {self.words}" if self.status == UNCLEAR else f"{name} {self.words}"


@dataclass
class Finding:
    """What one address of a host does.

    secured: what it answered under TLS, or on the way there; None where it does not offer that.
    fault: of STARTTLS, in one line, "" if there is none.
    """

    address: str
    answers: Answers
    secured: Answers | None
    verdict: Verdict
    fault: str = ""

    @property
    def has_tls(self) -> bool:
        """Whether STARTTLS works."""
        return self.secured is not None and self.secured.tls is not None


def judge(address: str, answers: Answers, secured: Answers | None) -> Finding:
    """The verdict on what was answered in clear, and under TLS where that came about."""
    finding = Finding(address, answers, secured, verdict_on(answers))
    if secured is None:
        return finding
    if secured.tls is None:
        finding.fault = f"STARTTLS does not work: {secured.trouble}"
        return finding
    in_clear, under_tls = finding.verdict, verdict_on(secured)
    if (in_clear.status, under_tls.status) == (REFUSES, DOES_NOT):
        words = f"{in_clear.words}; but {under_tls.of('under TLS it')}"
        finding.verdict = in_clear._replace(status=DOES_NOT, words=words)
    elif in_clear.status != under_tls.status:
        finding.fault = under_tls.of("under TLS it")
    return finding


def verdict_on(answers: Answers) -> Verdict:
    """The verdict on one conversation."""
    replies = answers.replies
    first = next((name for name in STAGE_OF if name in replies and replies[name].code == 521), "")
    stage = STAGE_OF.get(first, "")
    refused = REFUSED.get(stage, ())
    taken = tuple(name for name in replies if name in refused and replies[name].code != 521)
    status, words = _judged(answers, stage, first, taken)
    return Verdict(status, stage, taken, words)


def _judged(answers: Answers, stage: str, first: str, taken: tuple[str, ...]) -> tuple[int, str]:
    """Status and words; first: what got the first 521, if anything did."""

    def said(name: str) -> str:
        return f"to {name} it says {told(replies[name])}"

    replies = answers.replies
    if taken:
        worst = "RCPT" if "RCPT" in taken else taken[0]
        return DOES_NOT, f"refuses at {stage}, but not {', '.join(taken)}: {said(worst)}"
    for name in ("RCPT", POSTMASTER):
        if name in replies and replies[name].is_positive:
            return DOES_NOT, f"takes mail: {said(name)}"
    for name, reply in replies.items():
        if reply.code == 421:  # not available, for the present: RFC 5321, 3.8
            return UNCLEAR, f"could not tell: {said(name)}"
    if answers.has_hung_up and stage:
        return REFUSES, f"refuses at {stage}, and hangs up: {told(replies[first])}"
    last = next(reversed(replies), "")
    if answers.has_hung_up and last and replies[last].code >= 500:
        return DOES_NOT, f"does not refuse with 521: {said(last)}, and hangs up"
    if answers.trouble:
        return UNCLEAR, f"could not tell: {answers.trouble}"
    if stage:
        return REFUSES, f"refuses at {stage}: {told(replies[first])}"
    # What a sender stops at; after EHLO it would go on with HELO.
    steps = ("greeting", "HELO", "MAIL", "RCPT")
    stop = next(name for name in steps if name in replies and not replies[name].is_positive)
    return DOES_NOT, f"does not refuse with 521: {said(stop)}"
