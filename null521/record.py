"""What is remembered of one connection, and what a server says of itself, safe to show.

It knows all records: their message ids, their fields, and how a session can end. It knows what a
hostile client may not put into them. It must not know where records go, nor how octets came.
"""

from null521.session import MAX_HELO, MAX_MAILBOX, Session

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # syslog(3)

# Ours alone, and explained in the catalog that journalctl -x shows (units/null521.catalog).
REFUSED = "adc0197229224739b70f918f356cfe68"
MISCONFIGURED = "a9716ff62e6747459a2d54fff730ff40"
STARTED = "4c336d5b6cf04842aac6193614c03677"
TROUBLE = "a529e6a4c4ec4e4491a4b06601d898bf"
SUMMED = "3f0d7c1e9a5b4b0f8d52c6a71e0b9d34"

# How a session can end, and the priority of its record: at least notice, so that a unit can leave
# out what systemd itself says of each process (LogLevelMax= in null521@.service).
ENDINGS = {
    # The client said QUIT, closed its side without, or broke the connection.
    "quit": NOTICE, "eof": NOTICE, "reset": NOTICE,
    # It was over a bound: silent too long, connected too long, too many commands or octets.
    "idle": NOTICE, "deadline": NOTICE, "limit": NOTICE,
    # TLS failed; or we did, with an exception that nobody has expected.
    "tls": NOTICE, "fault": WARNING,
    # Of `null521 serve` alone: over a limit on connections, PROXY header refused, server stopped.
    "too-many": NOTICE, "proxy": NOTICE, "stopped": NOTICE,
}  # fmt: skip

# Printable by Unicode, but nothing is seen of them: Hangul's and Khitan's fillers, Khmer vowels and
# Mongolian selectors without a shape, an empty Braille cell, an empty note. In plane 14, all are.
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
BLANK += "\U00016fe4\U0001d159" + "".join(map(chr, range(0xFE00, 0xFE10)))  # variation selectors
# What sets off the client's words in a message from ours, and is escaped in them.
OURS = str.maketrans({c: f"\\x{ord(c):02x}" for c in " ()<>"})

Fields = list[tuple[str, str | int]]


class Record:
    """One line for people and its fields for programs; fields with several values repeat."""

    def __init__(self, message_id: str, priority: int, message: str, fields: Fields) -> None:
        self.message_id = message_id
        self.priority = priority
        self.message = message
        self.fields = fields


def of_session(
    session: Session,
    client: tuple[str, str],
    ending: str,
    seconds: float,
    show: str,
    proxy: str = "",
) -> Record:
    """The record of a session that is over.

    client: address and port, from peer.caller(). seconds: from the greeting to the end.
    show: "full", "domain" or "none": how much of mail addresses. proxy: if the
    client came through one, its address, or why its header was refused.
    """
    address, port = client
    helo = clean(session.helo, MAX_HELO)
    sender = None if session.sender is None else mailbox(session.sender, show)
    recipients = [mailbox(path, show) for path in session.recipients]

    message = f"Refused {address or 'a local client'}"
    message += helo and f" ({quoted(helo)})"
    if sender is not None:
        message += f", mail from <{quoted(sender)}>"
    if recipients:
        message += ", to " + ", ".join(f"<{quoted(recipient)}>" for recipient in recipients)
    if session.recipient_count > len(recipients):
        message += f" and {session.recipient_count - len(recipients)} more"
    commands = f"{session.commands} command{'s' * (session.commands != 1)}"
    message += f"; {ending} after {commands}, {seconds:.3f} s"
    if ending == "proxy":
        message += f": {proxy.removeprefix('failed: ')}"

    known: list[tuple[str, str | int | None]] = [
        ("CLIENT", address or None),
        ("CLIENT_PORT", int(port) if port else None),
        ("PROXY", proxy or None),
        ("HELO", helo or None),
        ("SENDER", sender),
        *[("RECIPIENT", recipient) for recipient in recipients],
        ("RECIPIENTS", session.recipient_count),
        ("REFUSE_AT", session.refuse_at),
        ("TLS", session.tls or None),
        ("COMMANDS", session.commands),
        ("OCTETS", session.octets),
        ("DURATION_USEC", round(seconds * 1e6)),
        ("ENDING", ending),
    ]
    fields = [(name, value) for name, value in known if value is not None]
    return Record(REFUSED, ENDINGS[ending], message, fields)


def of_fault(fault: str, priority: int = ERROR) -> Record:
    """The record of an invalid setting, or of a wrong thing handed to us."""
    return Record(MISCONFIGURED, priority, fault, [])


def clean(octets: bytes, limit: int) -> str:
    """What a client said, all but visible characters escaped, cut to `limit` characters.

    Visible by Unicode, because we offer SMTPUTF8 (RFC 6531). Escaped are control characters, line
    ends, what is not UTF-8, marks that turn the direction of writing, letters without a shape, and
    the backslash.
    """
    text = octets.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if is_visible(c) else c.encode("unicode_escape").decode() for c in text)
    return text[:limit]


def is_visible(character: str) -> bool:
    """Whether it is printable, and something is seen of it; or it is the ASCII blank."""
    return character.isprintable() and character not in BLANK and character < "\U000e0000"


def quoted(text: str) -> str:
    """What clean() has made, such that in a message it cannot be taken for our own words."""
    return text.translate(OURS)[:MAX_MAILBOX]


def mailbox(octets: bytes, addresses: str) -> str:
    """A mail address as far as it may be kept; the null reverse-path stays the empty string."""
    text = clean(octets, MAX_MAILBOX)
    if not text or addresses == "full":
        return text
    _, at, domain = text.rpartition("@")
    # A quoted local part may hold another "@", and may have been cut short.
    return at + domain if addresses == "domain" and at and '"' not in text else "..."
