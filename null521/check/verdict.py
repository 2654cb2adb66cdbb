"""Whether the answers of a host are a refusal, and a correct one.

It knows which commands have to be answered 521. It must not know how they were sent, nor how the
verdict is shown.
"""

from dataclasses import dataclass, replace

from null521.check.probe import NO_COMMAND, POSTMASTER, Answers, noun, shown

# Exit statuses, as grep(1) has them: yes, no, and an error that prevents an answer.
REFUSES, DOES_NOT, UNDETERMINED = 0, 1, 2

# RFC 7504, 3: a host that never accepts mail may greet with 521. RFC 1846, 4.2: it then answers 521
# to everything but QUIT, or closes the connection. RFC 1846, 5: a 521 elsewhere is as final. So a
# host that refuses later must answer 521 to every later command that sends mail or asks about
# mailboxes, and to unknown commands. NOOP, RSET and the earlier commands may be answered as usual.
LAST = ("RCPT", POSTMASTER, "DATA", "VRFY", NO_COMMAND)
REFUSED = {
    "greeting": ("greeting", "EHLO", "HELO", "MAIL", *LAST, "NOOP", "RSET"),
    "helo": ("EHLO", "HELO", "MAIL", *LAST),
    "mail": ("MAIL", *LAST),
    "rcpt": LAST,
}
STAGE_OF = {"greeting": "greeting", "EHLO": "helo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt"}


@dataclass(frozen=True)
class Verdict:
    """What the answers amount to.

    status: REFUSES, DOES_NOT or UNDETERMINED. stage: of the first 521, "" if there was none.
    not_refused: the commands that got another reply than the 521 which that stage requires.
    words: the sentence without its subject, see of().
    """

    status: int
    stage: str
    not_refused: tuple[str, ...]
    words: str

    def of(self, name: str) -> str:
        """The verdict on the host or address of that name, in one line."""
        return f"{name}: {self.words}" if self.status == UNDETERMINED else f"{name} {self.words}"


@dataclass
class Finding:
    """What one address of a host does.

    secured: its answers under TLS, or until TLS failed; None if it does not offer STARTTLS.
    fault: what is wrong with STARTTLS, in one line, or "".
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
    """The verdict on the answers in clear text, and on those under TLS if STARTTLS works."""
    finding = Finding(address, answers, secured, verdict_on(answers))
    if secured is None:
        return finding
    if secured.tls is None:
        finding.fault = f"STARTTLS does not work: {secured.trouble}"
        return finding
    clear, under_tls = finding.verdict, verdict_on(secured)
    differs = under_tls.of("under TLS" if under_tls.status == UNDETERMINED else "under TLS it")
    if (clear.status, under_tls.status) == (REFUSES, DOES_NOT):
        words = f"{clear.words}; but {differs}"
        finding.verdict = replace(clear, status=DOES_NOT, words=words)
    elif clear.status != under_tls.status:
        finding.fault = differs
    return finding


def verdict_on(answers: Answers) -> Verdict:
    """The verdict on one conversation."""
    replies = answers.replies
    first = next((name for name in STAGE_OF if name in replies and replies[name].code == 521), "")
    stage = STAGE_OF.get(first, "")
    required = REFUSED.get(stage, ())
    not_refused = tuple(name for name in replies if name in required and replies[name].code != 521)
    status, words = _judged(answers, stage, first, not_refused)
    return Verdict(status, stage, not_refused, words)


def _judged(
    answers: Answers, stage: str, first: str, not_refused: tuple[str, ...]
) -> tuple[int, str]:
    """Status and words. first: what got the first 521, or ""."""
    replies = answers.replies

    def reply_to(name: str) -> str:
        return f"its {noun(name)} is {shown(replies[name])}"

    if not_refused:
        worst = "RCPT" if "RCPT" in not_refused else not_refused[0]
        names = ", ".join(not_refused)
        return DOES_NOT, f"refuses at {stage}, but not {names}: {reply_to(worst)}"
    for name in ("RCPT", POSTMASTER):
        if name in replies and replies[name].is_positive:
            return DOES_NOT, f"accepts mail: {reply_to(name)}"
    for name, reply in replies.items():
        if reply.code == 421:  # "service not available", a temporary state: RFC 5321, 3.8
            return UNDETERMINED, f"undetermined: {reply_to(name)}"
    if answers.has_hung_up and stage:
        return REFUSES, f"refuses at {stage}, and hangs up: {shown(replies[first])}"
    last = next(reversed(replies), "")
    if answers.has_hung_up and last and replies[last].code >= 500:
        return DOES_NOT, f"does not refuse with 521: {reply_to(last)}, and it hangs up"
    if answers.trouble:
        return UNDETERMINED, f"undetermined: {answers.trouble}"
    if stage:
        return REFUSES, f"refuses at {stage}: {shown(replies[first])}"
    # The reply at which a sender gives up. It would answer a refused EHLO with HELO.
    steps = ("greeting", "HELO", "MAIL", "RCPT")
    stop = next(name for name in steps if name in replies and not replies[name].is_positive)
    return DOES_NOT, f"does not refuse with 521: {reply_to(stop)}"
