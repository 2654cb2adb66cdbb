"""The dialogue: what one client says, and what it is answered.

A state machine without I/O. It knows RFC 5321 and the bounds counted in octets and commands.
It must not know of sockets, clocks, settings, logs, TLS, or who is calling: drivers know those.
"""

STAGES = ("greeting", "helo", "mail", "rcpt")

# A reply is a code, an enhanced status code and a text. The enhanced code is sent only after EHLO
# has offered it, and never in reply to HELO or EHLO (RFC 2034, sections 3 and 4).
# No reply is a 354, so no message can ever be sent to us.
REFUSE = (521, "5.3.2", "{text}")
SERVICE = (220, "", "{hostname} ESMTP null521")
OFFER = (250, "", "{hostname}\nPIPELINING\nENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8{starttls}")
HELLO = (250, "", "{hostname}")
OK = (250, "2.0.0", "OK")
SENDER = (250, "2.1.0", "OK")
CLOSING = (221, "2.0.0", "{hostname}")
# REFUSE takes the place of READY while STARTTLS is not on offer: without a certificate, or once TLS
# is up.
READY = (220, "2.0.0", "go ahead with TLS")
NOT_READY = (454, "4.7.0", "TLS is not available")
NO_PARAMETERS = (501, "5.5.4", "STARTTLS has no parameters")  # RFC 3207, 4

# The whole dialogue: the reply to each verb, by the stage at which mail is refused.
# OFFER names the extensions without which a sender might give up with a text that is not ours.
DIALOGUE = {
    #                greeting   helo      mail      rcpt
    "on connect":   (REFUSE,    SERVICE,  SERVICE,  SERVICE),
    "EHLO":         (REFUSE,    REFUSE,   OFFER,    OFFER),
    "HELO":         (REFUSE,    REFUSE,   HELLO,    HELLO),
    "MAIL":         (REFUSE,    REFUSE,   REFUSE,   SENDER),
    "RCPT":         (REFUSE,    REFUSE,   REFUSE,   REFUSE),
    "DATA":         (REFUSE,    REFUSE,   REFUSE,   REFUSE),
    "RSET":         (REFUSE,    OK,       OK,       OK),
    "NOOP":         (REFUSE,    OK,       OK,       OK),
    "STARTTLS":     (REFUSE,    REFUSE,   READY,    READY),
    "QUIT":         (CLOSING,   CLOSING,  CLOSING,  CLOSING),
    "all else":     (REFUSE,    REFUSE,   REFUSE,   REFUSE),
}  # fmt: skip

# The rows that are verbs, as a client sends them.
VERBS = {event.encode(): event for event in DIALOGUE if event.isupper()}

# What is remembered of the client's words, for the record (RFC 5321, 4.5.3.1.1 to .3: a local part
# of 64 octets, a domain of 255; .8 asks for 100 recipients, of which ten tell enough).
MAX_HELO = 255
MAX_MAILBOX = 64 + 1 + 255
MAX_RECIPIENTS = 10

# Octets of replies that are enough for one call of receive(): a client may pipeline thousands of
# commands, and each costs it an octet or two.
ENOUGH = 4096


class Session:
    """One SMTP session, from the greeting to the reply that ends it.

    text: what follows the 521, one line. starttls: whether to offer it. max_line: octets in a line,
    its end included. max_octets: octets in all. max_commands: commands answered by the table; a
    client over any of the three gets one last 521. encoded: replies in octets,
    shared by sessions of the same settings. Never raises, whatever the octets.
    """

    def __init__(
        self,
        hostname: str,
        text: str,
        refuse_at: str = "greeting",
        max_commands: int = 5000,
        max_line: int = 2048,
        max_octets: int = 1_000_000,
        starttls: bool = False,
        encoded: dict[object, bytes] | None = None,
    ) -> None:
        self._hostname = hostname
        self._text = text
        self._starttls = starttls
        self._encoded = {} if encoded is None else encoded
        self.refuse_at = refuse_at
        self._column = STAGES.index(refuse_at)
        self._max_commands = max_commands
        self._max_line = max_line
        self._max_octets = max_octets
        self._rest = b""  # what is not processed yet: with has_more, lines; else an unfinished line

        self.ending = ""  # "quit" or "limit" once the last reply has been given
        self.asked_for_tls = False  # the driver is to call starttls() next
        self.has_more = False  # the driver is to call receive(b"") once it has sent the replies
        self.in_clear = True  # until what comes next has to be TLS
        self.tls = ""  # the version, or why the handshake failed; for the record
        self.commands = 0
        self.octets = 0
        self._forget()

    def _forget(self) -> None:
        self._enhanced = False
        self.helo = b""
        self.sender: bytes | None = None  # b"" is the null reverse-path, None that none came
        self.recipients: list[bytes] = []  # the first MAX_RECIPIENTS, each cut to MAX_MAILBOX
        self.recipient_count = 0

    def greeting(self) -> bytes:
        """The octets to send before the client has said anything."""
        return self._reply("on connect")

    def refusal(self) -> bytes:
        """The octets to send when a bound of the driver ends the session: one last 521."""
        return self._reply("all else")

    def receive(self, octets: bytes) -> bytes:
        """Process octets, however they were cut; return the replies to send, one a command.

        Once `ending` is set, those were the last, and more octets get no reply. Once
        `asked_for_tls` is set, starttls() returns the reply to that. With `has_more`, the rest of
        the replies comes with the next call.
        """
        if self.ending:
            return b""
        room = max(0, self._max_octets - self.octets)
        self.octets += len(octets)
        *lines, self._rest = (self._rest + octets[:room]).split(b"\n")
        self.has_more = False
        replies = b""
        for number, line in enumerate(lines, 1):
            replies += self._command(line)
            if self.ending:
                return replies
            if self.asked_for_tls or (len(replies) >= ENOUGH and number < len(lines)):
                self.has_more = not self.asked_for_tls
                self._rest = b"\n".join([*lines[number:], self._rest])
                return replies
        if len(self._rest) >= self._max_line or self.octets > self._max_octets:
            replies += self._over()
        return replies

    def starttls(self, ready: bool) -> bytes:
        """The reply to STARTTLS. If the driver is ready, all that it reads next has to be TLS.

        What the client has sent after STARTTLS is then discarded, not obeyed as if it had come
        under TLS (RFC 3207, 4.2; CVE-2011-0411).
        """
        self.asked_for_tls = False
        self._starttls = False
        if not ready:
            return self._as_octets(NOT_READY) + self.receive(b"")
        self._rest = b""
        self.in_clear = False
        return self._as_octets(READY)

    def secured(self, version: str) -> None:
        """TLS of that version is up: forget what was said (RFC 3207, 4.2), but not the bounds."""
        self.tls = version
        self._forget()

    def _command(self, line: bytes) -> bytes:
        # LF alone ends a line too: RFC 5321, 2.3.8 wants CRLF, but old senders do not comply.
        word, _, argument = line.rstrip(b"\r").replace(b"\t", b" ").partition(b" ")
        verb = VERBS.get(word.upper(), "all else")
        if verb in ("EHLO", "HELO"):
            self._enhanced = False
        if self.commands >= self._max_commands or len(line) >= self._max_line:
            return self._over()
        self.commands += 1
        if verb in ("EHLO", "HELO"):
            # One word, so that it cannot look like what a record says after it.
            self.helo = argument.strip().partition(b" ")[0][:MAX_HELO]
        elif verb == "MAIL":
            self.sender = _path(argument)
        elif verb == "RCPT":
            self.recipient_count += 1
            if self.recipient_count <= MAX_RECIPIENTS:
                self.recipients.append(_path(argument) or b"")
        elif verb == "QUIT":
            self.ending = "quit"
        elif verb == "STARTTLS":
            if DIALOGUE[verb][self._column] is READY and self._starttls:
                if argument.strip():
                    return self._as_octets(NO_PARAMETERS)
                self.asked_for_tls = True
                return b""
            verb = "all else"
        return self._reply(verb)

    def _over(self) -> bytes:
        self.ending = "limit"
        return self.refusal()

    def _reply(self, event: str) -> bytes:
        key = (event, self._enhanced, self._starttls)
        reply = self._encoded.get(key)
        if reply is None:
            reply = self._encoded[key] = self._as_octets(DIALOGUE[event][self._column])
        if event == "EHLO":
            self._enhanced = DIALOGUE[event][self._column] is OFFER
        return reply

    def _as_octets(self, reply: tuple[int, str, str]) -> bytes:
        code, status, text = reply
        if self._enhanced and status:
            text = f"{status} {text}"
        text = text.format(
            hostname=self._hostname,
            text=self._text,
            starttls="\nSTARTTLS" if self._starttls else "",
        )
        *first, last = text.split("\n")
        lines = [f"{code}-{line}\r\n" for line in first] + [f"{code} {last}\r\n"]
        return "".join(lines).encode("ascii")


def _path(argument: bytes) -> bytes | None:
    """The mailbox in "FROM:<mailbox> parameters"; None if there is none.

    Without the colon or the brackets, which some clients omit: the first word. Only "<>" is empty.
    """
    before, colon, after = argument.strip().partition(b":")
    text = after.strip() if colon else before.partition(b" ")[2].strip() or before
    if b"<" in text:
        return text.partition(b"<")[2].partition(b">")[0][:MAX_MAILBOX]
    return text.partition(b" ")[0][:MAX_MAILBOX] or None
