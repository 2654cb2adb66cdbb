"""`null521 check HOST[:PORT]`: does that host refuse mail as it should?

Speaks as a sender would, up to RCPT and no further. It knows the client's half of SMTP, and must
not know how null521 answers: the host may run anything.
"""

import socket
import sys
from typing import BinaryIO, NamedTuple

EX_USAGE = 64  # sysexits(3)
REFUSES, ACCEPTS, UNKNOWN = 0, 1, 2  # exit statuses

PORT = 25
PATIENCE = 10.0  # seconds for the connection and for each reply
MAX_REPLY = 64  # lines

USAGE = "usage: null521 check HOST[:PORT]"


class Reply(NamedTuple):
    """A reply of RFC 5321, 4.2: its code, and the text of its last line."""

    code: int
    text: str


class Unclear(Exception):
    """What was heard is no answer to the question; says why in one line."""


def run(arguments: list[str]) -> int:
    """Check the host named, say in one line what it does, and return the exit status.

    0 if it refuses, with 521 to RCPT; 1 if it does not; 2 if it could not tell.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return EX_USAGE
    try:
        host, port = place(arguments[0])
        stage, reply = refusal(host, port)
    except (Unclear, OSError) as error:
        print(f"{arguments[0]}: could not tell: {error}")
        return UNKNOWN
    told = f"{reply.code} {reply.text}"
    if not stage:
        print(f"{arguments[0]} does not refuse with 521: to RCPT it says {told!a}")
        return ACCEPTS
    print(f"{arguments[0]} refuses at {stage}: {told!a}")
    return REFUSES


def place(word: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT, an IPv6 address, or [ADDRESS]:PORT; Unclear if neither."""
    host, port = word, ""
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        port = rest.removeprefix(":")
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and int(port[:9]) <= 65535)):
        raise Unclear("that is no HOST or HOST:PORT")
    return host, int(port or PORT)


def refusal(host: str, port: int) -> tuple[str, Reply]:
    """At which stage the first 521 came, "" if RCPT was answered otherwise; and RCPT's reply.

    Unclear if there was none; OSError if the host is not there or does not answer in time.
    """
    stage = ""
    with socket.create_connection((host, port), PATIENCE) as client, client.makefile("rb") as said:
        name = socket.gethostname().encode("ascii", "replace")
        steps = {
            "greeting": b"",
            "helo": b"EHLO " + name,
            "mail": b"MAIL FROM:<>",
            "rcpt": b"RCPT TO:<postmaster>",  # whom every host that takes mail has: 4.5.1
        }
        for step, command in steps.items():
            if command:
                client.sendall(command + b"\r\n")
            reply = heard(said)
            if reply.code == 521:
                stage = stage or step
        client.sendall(b"QUIT\r\n")
    return (stage if reply.code == 521 else ""), reply


def heard(said: BinaryIO) -> Reply:
    """The next reply. Unclear if it is not SMTP, or if the host has hung up instead."""
    for _ in range(MAX_REPLY):
        line = said.readline(1024)
        if not line:
            raise Unclear("it hung up")
        if not (line[:3].isdigit() and line[3:4] in (b" ", b"-", b"\r", b"\n")):
            raise Unclear(f"it does not speak SMTP: {line[:60].decode('ascii', 'replace')!a}")
        if line[3:4] != b"-":
            return Reply(int(line[:3]), line[4:].decode("utf-8", "replace").strip())
    raise Unclear(f"a reply of more than {MAX_REPLY} lines")
