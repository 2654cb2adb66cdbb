"""The dialogue: what one client says, and what it is answered.

A state machine without I/O. It knows RFC 5321 and the bounds counted in octets and commands.
It must not know of sockets, clocks, settings, logs, or who is calling: drivers know those.
"""

STAGES = ("greeting", "helo", "mail", "rcpt")

# A reply is a code, an enhanced status code and a text. The enhanced code is shown only once
# EHLO has offered it, and never in answer to HELO or EHLO (RFC 2034, sections 3 and 4).
# No reply here is a 354, so no message can ever be sent to us.
REFUSE = (521, "5.3.2", "{text}")
SERVICE = (220, "", "{hostname} ESMTP null521")
OFFER = (250, "", "{hostname}\nPIPELINING\nENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8")
HELLO = (250, "", "{hostname}")
OK = (250, "2.0.0", "OK")
SENDER = (250, "2.1.0", "OK")
GOODBYE = (221, "2.0.0", "{hostname}")

# The whole dialogue: what is answered to whom, by the stage at which mail is refused.
# OFFER names the extensions for want of which a sender might give up with a text not ours.
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
    "QUIT":         (GOODBYE,   GOODBYE,  GOODBYE,  GOODBYE),
    "all else":     (REFUSE,    REFUSE,   REFUSE,   REFUSE),
}  # fmt: skip

# What is kept of what the client says about itself, for the record (RFC 5321, 4.5.3.1.1 to .3:
# a local part of 64 octets, a domain of 255; .8 asks for 100 recipients, ten tell enough).
MAX_HELO = 255
MAX_PATH = 64 + 1 + 255
MAX_RECIPIENTS = 10


class Session:
    """One SMTP session, from the greeting to the reply that ends it.

    text: what follows the 521, one line. max_line: octets in a line, its end included.
    max_octets: octets in all. max_commands: commands answered in the common way; a client over
    any of the three gets one last 521. Never raises, whatever the octets.
    """

    def __init__(
        self,
        hostname: str,
        text: str,
        refuse_at: str = "greeting",
        max_commands: int = 100,
        max_line: int = 2048,
        max_octets: int = 65536,
    ) -> None:
        self._words = {"hostname": hostname, "text": text}
        self._column = STAGES.index(refuse_at)
        self._max_commands = max_commands
        self._max_line = max_line
        self._max_octets = max_octets
        self._enhanced = False
        self._rest = b""  # the beginning of a line whose end has not come yet

        self.ending = ""  # "quit" or "limit" once the last reply has been given
        self.commands = 0
        self.octets = 0
        self.helo = b""
        self.sender: bytes | None = None  # b"" is the null reverse-path, None that none came
        self.recipients: list[bytes] = []  # the first MAX_RECIPIENTS, each cut to MAX_PATH
        self.recipient_count = 0

    def greeting(self) -> bytes:
        """The octets to send before the client has said anything."""
        return self._reply("on connect")

    def refusal(self) -> bytes:
        """The octets to send when a driver's bound ends the session: one last 521."""
        return self._reply("all else")

    def receive(self, data: bytes) -> bytes:
        """Take octets as they came, cut anywhere; return the replies to send, one a command.

        Once `ending` is set, that was the last of them, and more octets are not answered.
        """
        if self.ending:
            return b""
        room = self._max_octets - self.octets
        self.octets += len(data)
        *lines, self._rest = (self._rest + data[:room]).split(b"\n")
        replies = []
        for line in lines:
            replies.append(self._command(line))
            if self.ending:
                return b"".join(replies)
        if len(self._rest) >= self._max_line or self.octets > self._max_octets:
            replies.append(self._over())
        return b"".join(replies)

    def _command(self, line: bytes) -> bytes:
        if self.commands >= self._max_commands or len(line) >= self._max_line:
            return self._over()
        self.commands += 1
        # LF alone ends a line too: RFC 5321, 2.3.8 wants CRLF, and old senders do not care.
        word, _, argument = line.rstrip(b"\r").replace(b"\t", b" ").partition(b" ")
        verb = word.upper().decode("ascii", "replace")
        if verb in ("EHLO", "HELO"):
            self.helo = argument.strip()[:MAX_HELO]
            self._enhanced = False
        elif verb == "MAIL":
            self.sender = _path(argument)
        elif verb == "RCPT":
            self.recipient_count += 1
            if self.recipient_count <= MAX_RECIPIENTS:
                self.recipients.append(_path(argument))
        elif verb == "QUIT":
            self.ending = "quit"
        return self._reply(verb if verb in DIALOGUE else "all else")

    def _over(self) -> bytes:
        self.ending = "limit"
        return self.refusal()

    def _reply(self, event: str) -> bytes:
        reply = DIALOGUE[event][self._column]
        code, status, text = reply
        if self._enhanced and status:
            text = f"{status} {text}"
        *first, last = text.format_map(self._words).split("\n")
        lines = [f"{code}-{line}\r\n" for line in first] + [f"{code} {last}\r\n"]
        self._enhanced = self._enhanced or reply is OFFER
        return "".join(lines).encode("ascii")


def _path(argument: bytes) -> bytes:
    """The mailbox in "FROM:<mailbox> parameters", or the first word where there is no bracket."""
    after = argument.partition(b":")[2].strip()
    if after.startswith(b"<"):
        return after[1:].partition(b">")[0][:MAX_PATH]
    return after.partition(b" ")[0][:MAX_PATH]
