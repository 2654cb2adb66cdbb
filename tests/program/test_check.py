"""null521 check against null521 in each stage, and against hosts that behave differently."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.certificates import make, openssl_dates
from helpers.program import TEST_TIMEOUT
from hypothesis import given, settings
from hypothesis import strategies as st

from null521.check import probe
from null521.check.cli import NO_DNSPYTHON, Place, ask

TREE = Path(__file__).parents[2]
STAGES = ("greeting", "helo", "mail", "rcpt")
LAST = [(command, 521) for command in ("RCPT", "RCPT <postmaster>", "DATA", "VRFY", "XNULL521")]
KNOWN = [("NOOP", 250), ("RSET", 250)]
HELLO_REFUSED = [("EHLO", 521), ("HELO", 521)]  # a sender tries HELO when EHLO is refused
# Each command that is sent, in order, and the code of its reply; QUIT follows.
CODES = {
    "greeting": [
        ("greeting", 521),
        *HELLO_REFUSED,
        ("MAIL", 521),
        *LAST,
        ("NOOP", 521),
        ("RSET", 521),
    ],
    "helo": [("greeting", 220), *HELLO_REFUSED, ("MAIL", 521), *LAST, *KNOWN],
    "mail": [("greeting", 220), ("EHLO", 250), ("MAIL", 521), *LAST, *KNOWN],
    "rcpt": [("greeting", 220), ("EHLO", 250), ("MAIL", 250), *LAST, *KNOWN],
}
COMMAND = [sys.executable, "-m", "null521", "check"]
SHORT = 3  # seconds; for a host that says nothing, and enough for one that does
REFUSED = "521 5.3.2 h.example is configured NOT to accept any mail."
# What is printed about each place at which null521 refuses, besides the answer.
REMARKS = {
    "greeting": ": some senders queue mail that is refused at greeting: ",
    "helo": ": some senders queue mail that is refused at helo: ",
    "mail": ": STARTTLS is not offered, so senders that require TLS queue the mail; ",
    "rcpt": ": STARTTLS is not offered, so senders that require TLS queue the mail; ",
}
UNNUMBERED = "521 h.example is configured NOT to accept any mail."


def check(*words: str, command: list[str] = COMMAND) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [*command, *words], cwd=TREE, capture_output=True, timeout=TEST_TIMEOUT, check=False
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def found(*words: str) -> dict[str, Any]:
    """What it prints as JSON, with its only address as "at"."""
    status, said = check("--json", *words)
    document: dict[str, Any] = json.loads(said)
    assert document["status"] == status
    [document["at"]] = document["addresses"]
    return document


@contextlib.contextmanager
def handled(launcher: Path, *flags: str) -> Iterator[str]:
    """An address where the launcher answers each connection, as under a superserver."""

    def answer() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = server.accept()
                with connection:
                    fd = connection.fileno()
                    subprocess.run([*words, *flags], stdin=fd, stdout=fd, check=True)

    words = [str(launcher), "--hostname=h.example", "--log=none"]
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        answered = pool.submit(answer)
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
        answered.result()


@contextlib.contextmanager
def served(address: str, *flags: str) -> Iterator[str]:
    """An address where null521 serve answers, on a socket that it inherits as from inetd.

    "::" also answers over IPv4: localhost may be both.
    """
    words = [sys.executable, "-m", "null521", "serve", "--hostname=h.example", "--log=none"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    with socket.create_server((address, 0), family=family, dualstack_ipv6=both) as server:
        process = subprocess.Popen([*words, *flags], cwd=TREE, stdin=server.fileno())
        with process:
            try:
                yield f"[{address}]:{server.getsockname()[1]}"
            finally:
                process.kill()


Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def host(*answers: Answer) -> Iterator[str]:
    """An address where each connection is handled by the next of the answers."""

    def answer() -> None:
        for each in answers:
            connection, _ = server.accept()
            connection.settimeout(TEST_TIMEOUT)
            with connection, contextlib.suppress(ConnectionError):
                each(connection)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        answered = pool.submit(answer)
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
            answered.result(TEST_TIMEOUT)
        finally:
            server.shutdown(socket.SHUT_RDWR)  # or a thread in accept() would wait forever


def saying(*replies: str, heard: list[bytes] | None = None) -> Answer:
    """The first reply is the greeting; each line gets the next one. Then the host hangs up."""

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for reply in replies:
                connection.sendall(reply.encode("latin-1"))
                line = lines.readline()
                if heard is not None:
                    heard.append(line)

    return answer


def lines(*replies: str, heard: list[bytes] | None = None) -> Answer:
    """Like saying(), with CRLF after each reply."""
    return saying(*(f"{reply}\r\n" for reply in replies), heard=heard)


def dripping(connection: socket.socket) -> None:
    """Send a greeting octet by octet, which takes half a minute."""
    with contextlib.suppress(OSError):
        for octet in b"220 " + b"h" * 600:
            connection.sendall(bytes([octet]))
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100):  # the client has given up
                    return


def flooding(connection: socket.socket) -> None:
    """Send octets without an end of line, as fast as possible."""
    while True:
        connection.sendall(b"220 " + b"h" * 65536)


def silent(connection: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    assert connection.recv(100) == b""


# null521.


@pytest.mark.parametrize("stage", STAGES)
def test_a_handler_in_each_stage(launcher: Path, stage: str) -> None:
    with handled(launcher, f"--refuse-at={stage}") as place:
        status, said = check(place)
        document = found(place)
        strict, _ = check("--strict", place)
    text = UNNUMBERED if stage in ("greeting", "helo") else REFUSED
    answer, remark = said.splitlines()
    assert (status, answer) == (0, f"{place} refuses at {stage}: '{text}'")
    assert remark.startswith(f"127.0.0.1{REMARKS[stage]}")
    assert document["faults"] == [remark]
    [found_remark] = document["remarks"]
    if stage in ("greeting", "helo"):  # a status of its own tells it from 0, 1 and 2
        assert (strict, found_remark["name"]) == (3, "refused-early")
    else:
        assert (strict, found_remark["name"]) == (0, "starttls-not-offered")
    assert {sender.split()[0] for sender in found_remark["senders"]} >= {"OpenSMTPD"}
    at = document["at"]
    assert (at["stage"], at["not_refused"], at["hangs_up"]) == (stage, [], False)
    assert at["starttls"] is None
    codes = [(command, reply["code"]) for command, reply in at["replies"].items()]
    assert codes == [*CODES[stage], ("QUIT", 221)]
    assert 0 < at["seconds"]["greeting"] <= at["seconds"]["refusal"] < TEST_TIMEOUT


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_server_in_each_stage(stage: str, address: str) -> None:
    with served(address, f"--refuse-at={stage}") as place:
        status, said = check(place)
    text = UNNUMBERED if stage in ("greeting", "helo") else REFUSED
    answer, remark = said.splitlines()
    assert (status, answer.endswith(f" refuses at {stage}: '{text}'")) == (0, True)
    assert remark.startswith(f"{address}{REMARKS[stage]}")


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_starttls(launcher: Path, tmp_path: Path, stage: str) -> None:
    cert, key = make(tmp_path, "ec", "-days", "20")
    flags = f"--refuse-at={stage}", f"--tls-cert={cert}", f"--tls-key={key}"
    for where in (handled(launcher, *flags), served("127.0.0.1", *flags)):
        with where as place:
            document = found(place)
            _, said = check("--verbose", place)
        before, after = openssl_dates(cert)
        tls = {"version": "TLSv1.3", "not_before": before, "not_after": after}
        starttls = document["at"]["starttls"]
        assert (document["status"], document["faults"], starttls["tls"]) == (0, [], tls)
        assert [starttls["replies"][name]["code"] for name in ("RCPT", "QUIT")] == [521, 221]
        assert "STARTTLS" not in starttls["replies"]["EHLO"]["text"]
        days = [f"{date[:4]}-{date[4:6]}-{date[6:8]}" for date in (before, after)]
        assert f"  TLSv1.3, {days[0]} to {days[1]}\n" in said
        [group] = document["senders"]
        assert group["because"] == f"refused at {stage}, with STARTTLS"
        assert {sender["insisting"] for sender in group["senders"]} == {"bounces at once"}


def test_starttls_that_does_not_work(launcher: Path, tmp_path: Path) -> None:
    """Mail is still refused, except to senders that require TLS."""
    cert, _ = make(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = make(tmp_path / "other")
    with handled(launcher, "--refuse-at=rcpt", f"--tls-cert={cert}", f"--tls-key={key}") as place:
        status, said = check(place)
        document = found(place)
    fault = "STARTTLS does not work: the reply is '454 4.7.0 TLS is not available'"
    assert status == 0
    assert said.splitlines() == [f"{place} refuses at rcpt: '{REFUSED}'", f"127.0.0.1: {fault}"]
    [group] = document["senders"]
    assert {sender["insisting"] for sender in group["senders"]} == {"queues the mail for days"}


# Other hosts.

OFFER = "250-h\r\n250-STARTTLS\r\n250 X"
ALWAYS = ["521 h"] * 10
ASKING = ["220 h", "250 h", "250 ok", "521 no", "521 no", "354 go ahead", "250 ok"]
ACCEPTING = ["220 h", "250 h", "250 ok", "250 ok", "221 h"]


HOSTS: dict[str, tuple[list[str], int, str]] = {
    "accepts": (ACCEPTING, 1, "accepts mail: its reply to RCPT is '250 ok'"),
    "lies": (
        ["521 h", "250 h", "250 ok", "250 ok", "221 h"],
        1,
        "refuses at greeting, but not EHLO, MAIL, RCPT: its reply to RCPT is '250 ok'",
    ),
    "accepts DATA": (
        ASKING,
        1,
        "refuses at rcpt, but not DATA: its reply to DATA is '354 go ahead'",
    ),
    # As Postfix does, whatever it is configured to reject.
    "accepts mail for postmaster": (
        ["220 h", "250 h", "250 ok", "554 no", "250 ok", "221 h"],
        1,
        "accepts mail: its reply to RCPT <postmaster> is '250 ok'",
    ),
    "refuses all but postmaster": (
        ["220 h", "250 h", "250 ok", "521 no", "250 ok", "221 h"],
        1,
        "refuses at rcpt, but not RCPT <postmaster>: its reply to RCPT <postmaster> is '250 ok'",
    ),
    "defers": (
        ["220 h", "250 h", "250 ok", "450 later", *ALWAYS],
        1,
        "does not refuse with 521: its reply to RCPT is '450 later'",
    ),
    "another code": (
        ["220 h", "250 h", "250 ok", "550 \x1b[2J\xe9", *ALWAYS],
        1,
        r"does not refuse with 521: its reply to RCPT is '550 \x1b[2J\ufffd'",
    ),
    "other codes after 521": (
        [*ASKING[:5], "503 no", "252 yes", "500 x", "250 ok", "250 ok", "221 h"],
        1,
        "refuses at rcpt, but not DATA, VRFY, XNULL521: its reply to DATA is '503 no'",
    ),
    "accepts HELO": (
        ["220 h", "521 h", "250 h", *ALWAYS],
        1,
        "refuses at helo, but not HELO: its reply to HELO is '250 h'",
    ),
    "knows only HELO": (
        ["220 h", "502 h", "250 h", "250 ok", *["521 no"] * 7, "221 h"],
        0,
        "refuses at rcpt: '521 no'",
    ),
    "hangs up": (["521 no"], 0, "refuses at greeting, and hangs up: '521 no'"),
    "hangs up at RCPT": (
        ["220 h", "250 h", "250 ok", "521 no"],
        0,
        "refuses at rcpt, and hangs up: '521 no'",
    ),
    "hangs up with 554": (
        ["554 no"],
        1,
        "does not refuse with 521: its greeting is '554 no', and it hangs up",
    ),
    "busy": (["421 busy"], 2, "undetermined: its greeting is '421 busy'"),
    "hangs up for no reason": (
        ["220 h"],
        2,
        "undetermined: it hung up before its reply to EHLO",
    ),
    "many lines": (
        ["220-a\r\n220-b\r\n220 c", "250 h", "250 ok", "521-not\r\n521-at\r\n521 all", *ALWAYS],
        0,
        "refuses at rcpt: '521 all'",
    ),
    "no text": (["220", "250", "250", *["521"] * 10], 0, "refuses at rcpt: '521 '"),
    "no SMTP": (["SSH-2.0-x"], 2, "undetermined: it does not speak SMTP; it says 'SSH-2.0-x'"),
    "garbage": (
        ["\x00\xff\x1b]0;x\x07" * 20],
        2,
        r"undetermined: it does not speak SMTP; it says '\x00\xff\x1b]0;x",
    ),
    "endless reply": (["220-h\r\n" * 100], 2, "undetermined: a reply of more than 64 lines"),
    "no such code": (["999 h"], 2, "undetermined: it does not speak SMTP; it says '999 h'"),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_other_hosts(kind: str) -> None:
    replies, status, words = HOSTS[kind]
    with host(lines(*replies)) as place:
        found, said = check(place)
    separator = ": " if status == 2 else " "
    answer, *remarks = said.splitlines()
    assert (found, len(remarks)) == (status, status == 0), said
    assert answer.startswith(f"{place}{separator}{words}")
    assert all(remark.startswith("127.0.0.1: ") for remark in remarks)
    assert said.isascii()
    assert said.replace("\n", "").isprintable()


def test_no_message_is_sent() -> None:
    """Not even to a host that replies 354 to DATA."""
    heard: list[bytes] = []
    with host(lines(*ASKING, heard=heard)) as at:
        check(at)
    assert [line[:4] for line in heard] == [b"EHLO", b"MAIL", b"RCPT", b"RCPT", b"DATA", b"", b""]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (silent, f"no greeting within {SHORT} s"),
        (dripping, f"no greeting within {SHORT} s"),
        (flooding, "a reply line of more than 1024 octets"),
    ],
)
def test_hosts_that_never_finish_a_reply(answer: Answer, words: str) -> None:
    with host(answer) as place:
        assert check(f"--timeout={SHORT}", place) == (2, f"{place}: undetermined: {words}\n")


def test_replies_octet_by_octet() -> None:
    """Replies are recognised however they are split."""

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for reply in ("220-h\r\n220 h", "250-h\r\n250 X", "250 ok", *["521 no"] * 7, "221 h"):
                for octet in f"{reply}\r\n".encode():
                    connection.sendall(bytes([octet]))
                lines.readline()

    with host(answer) as place:
        status, said = check(place)
    assert (status, said.splitlines()[0]) == (0, f"{place} refuses at rcpt: '521 no'")


def test_silence_after_the_refusal() -> None:
    """A sender would wait for minutes; the check waits for its timeout."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"521 no\r\n")
        while connection.recv(100):
            pass

    with host(answer) as place:
        words = f"undetermined: no reply to EHLO within {SHORT} s"
        assert check(f"--timeout={SHORT}", place) == (2, f"{place}: {words}\n")


def test_a_port_that_never_accepts() -> None:
    """First with a free place in its queue; then without, so that the kernel does not answer."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = f"127.0.0.1:{server.getsockname()[1]}"
        words = f"undetermined: no greeting within {SHORT} s"
        assert check(f"--timeout={SHORT}", place) == (2, f"{place}: {words}\n")
        while True:  # until the queue is full
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            try:
                client.connect(server.getsockname())
            except TimeoutError:
                break
        words = f"undetermined: no connection within {SHORT} s"
        assert check(f"--timeout={SHORT}", place) == (2, f"{place}: {words}\n")


def test_a_reset() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"220 h\r\n")
        connection.recv(1)  # closing with unread octets sends a RST

    with host(answer) as place:
        words = "undetermined: it hung up before its reply to EHLO"
        assert check(place) == (2, f"{place}: {words}\n")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_closed_port(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as held:  # and does not listen
        held.bind((address, 0))
        status, said = check(f"[{address}]:{held.getsockname()[1]}")
    assert (status, "undetermined: connection failed: connection refused\n" in said) == (2, True)


LINES = st.builds(
    lambda code, separator, text, end: f"{code}{separator}{text}".encode("latin-1") + end,
    st.sampled_from([220, 250, 354, 421, 450, 521, 554]),
    st.sampled_from(" -"),
    st.text(st.characters(max_codepoint=255), max_size=20),
    st.sampled_from([b"\n", b"\r\n", b""]),
)


@settings(max_examples=100)
@given(st.lists(LINES | st.binary(max_size=50), max_size=12))
def test_any_octets(replies: list[bytes]) -> None:
    """There is always a verdict, and it holds nothing that a terminal would obey."""
    with host(saying(*(reply.decode("latin-1") for reply in replies))) as place:
        port = int(place.rpartition(":")[2])
        found = ask("127.0.0.1", Place("127.0.0.1", port), 0.05)
    words = found.verdict.of("h")
    assert found.verdict.status in (0, 1, 2)
    assert words.isascii()
    assert words.isprintable()
    assert len(words) < 2000


# Other hosts, under TLS.


def securing(pair: tuple[str, str], *replies: str, go: bytes = b"220 go\r\n") -> Answer:
    """A host that offers STARTTLS. Under TLS, each line gets the next of the replies."""

    def answer(connection: socket.socket) -> None:
        lines("220 h", OFFER)(connection)
        connection.sendall(go)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(100)
            lines(*replies)(tls)

    return answer


IN_CLEAR = lines("220 h", OFFER, "250 ok", *["521 no"] * 7, "221 h")
UNDER_TLS = ["250 h", "250 ok", *["521 no"] * 7, "221 h"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make(tmp_path_factory.mktemp("pair"))


def test_a_host_that_refuses_only_in_clear_text(pair: tuple[str, str]) -> None:
    with host(IN_CLEAR, securing(pair, "250 h", "250 ok", "250 ok", "221 h")) as place:
        words = "refuses at rcpt: '521 no'; but under TLS it accepts mail: its reply to RCPT is"
        assert check(place) == (1, f"{place} {words} '250 ok'\n")


def test_the_chain_of_certificates(pair: tuple[str, str], tmp_path: Path) -> None:
    """All that the host sends, its own first: TLSA records may be about any of them."""
    cert, key = pair
    other, _ = make(tmp_path)
    chain = tmp_path / "chain.pem"
    chain.write_text(Path(cert).read_text() + Path(other).read_text())
    for path, names in ((cert, [cert]), (str(chain), [cert, other])):
        with host(securing((path, key), *UNDER_TLS)) as place:
            port = int(place.rpartition(":")[2])
            found = probe.ask("127.0.0.1", port, "h.example", TEST_TIMEOUT, starttls=True)
        pems = [Path(name).read_text() for name in names]
        assert found.chain == tuple(map(ssl.PEM_cert_to_DER_cert, pems))
        assert found.tls is not None


def test_clear_text_after_the_reply_to_starttls(pair: tuple[str, str]) -> None:
    """It does not pass for replies under TLS."""
    injected = b"220 go\r\n250 h\r\n250 ok\r\n250 ok\r\n"
    with host(IN_CLEAR, securing(pair, *UNDER_TLS, go=injected)) as place:
        assert check(place) == (0, f"{place} refuses at rcpt: '521 no'\n")


def in_place_of_tls(octets: bytes, waits: bool) -> Answer:
    def answer(connection: socket.socket) -> None:
        lines("220 h", OFFER)(connection)
        connection.sendall(b"220 go\r\n")
        connection.recv(4096)
        connection.sendall(octets)
        while waits and connection.recv(4096):
            pass

    return answer


@pytest.mark.parametrize(
    ("octets", "waits", "words"),
    [
        (b"", False, "it hung up before its reply to STARTTLS"),
        (b"", True, f"no reply to STARTTLS within {SHORT} s"),
        (b"521 no TLS here\r\n", True, "STARTTLS failed: wrong version number"),
    ],
)
def test_a_failed_handshake(octets: bytes, waits: bool, words: str) -> None:
    with host(IN_CLEAR, in_place_of_tls(octets, waits)) as place:
        status, said = check(f"--timeout={SHORT}", place)
    fault = f"127.0.0.1: STARTTLS does not work: {words}"
    assert (status, said.splitlines()) == (0, [f"{place} refuses at rcpt: '521 no'", fault])


# Output.


def without(*modules: str) -> list[str]:
    """The command with these modules missing."""
    blocked = ";".join(f"sys.modules['{name}'] = None" for name in modules)
    program = f"import sys; {blocked}; from null521.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, "check"]


def on_a_terminal(*words: str, command: list[str] = COMMAND) -> str:
    """What it prints on a terminal, without the colours."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, *words], cwd=TREE, stdout=theirs, env={**os.environ, "TERM": "xterm"}
    ):
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while octets := os.read(ours, 4096):
                said += octets
    os.close(ours)
    assert b"\x1b[2J" not in said
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r\n", "\n")


SENDERS = {
    "Postfix": "queues the mail for days",
    "Exim": "bounces one, then queues",
    "OpenSMTPD": "queues the mail for days",
    "sendmail": "bounces at once",
}


def test_on_a_terminal() -> None:
    """Tables are drawn by rich if it is installed; the words are the same without it."""
    with served("127.0.0.1", "--refuse-at=greeting") as place:
        drawn = on_a_terminal(place)
        plain = on_a_terminal(place, command=without("rich"))
        piped = check("--verbose", place)[1]
    assert "─" in drawn
    assert plain.isascii()
    for said in (drawn, plain, piped):
        answer, *rows = said.splitlines()
        assert answer == f"{place[1:10]}{place[11:]} refuses at greeting: '{UNNUMBERED}'"
        cells = [re.split(r"  +", row.strip()) for row in rows]
        header = ["ADDRESS", "REFUSES AT", "THEN", "GREETING", "REFUSAL", "STARTTLS"]
        assert cells.count(header) == 1
        [first] = [row for row in cells if row[0] == "127.0.0.1"]
        assert (first[1:3], first[-1]) == (["greeting", "always 521"], "not offered")
        seen = {row[0].split()[0]: row[1:] for row in cells if len(row) == 3}
        assert seen.pop("SENDER") == ["BY DEFAULT", "IF IT REQUIRES TLS"]
        assert seen == {sender: [outcome, outcome] for sender, outcome in SENDERS.items()}


@pytest.mark.parametrize("command", [COMMAND, without("rich")], ids=["rich", "without"])
def test_replies_are_not_markup(command: list[str]) -> None:
    hostile = "521 [red]x[/red] [link=http://x]y[/link] :smile: \x1b[2J\x9b2J"
    shown = r"'521 [red]x[/red] [link=http://x]y[/link] :smile: \x1b[2J\ufffd2J'"
    with host(lines(hostile)) as place:
        assert f"{place} refuses at greeting, and hangs up: {shown}\n" in on_a_terminal(
            place, command=command
        )


def test_no_prediction_for_a_host_that_was_not_measured() -> None:
    with host(lines("220 h", "521 no")) as place:
        assert found(place)["senders"] == []
    with host(lines("521 no")) as place:
        [group] = found(place)["senders"]
    assert group["because"] == "refused at greeting, without STARTTLS"
    with host(lines(*ACCEPTING)) as place:
        assert found(place)["senders"] == []


def test_json_is_bounded() -> None:
    with host(lines("521-" + "x" * 1000 + "\r\n521 \x1b[2J")) as place:
        status, said = check("--json", place)
    text = json.loads(said)["addresses"][0]["replies"]["greeting"]["text"]
    assert (status, text, "\x1b" in said) == (0, "x" * 512, False)


def test_the_launcher(launcher: Path) -> None:
    """It ends the process without Python's own flush of standard output."""
    with served("::", "--refuse-at=rcpt") as place:
        for host in ("[127.0.0.1]", "localhost"):
            status, said = check(place.replace("[::]", host), command=[str(launcher), "check"])
            assert (status, said.count("refuses at rcpt")) == (0, 1)


def test_output_that_cannot_be_written(launcher: Path) -> None:
    """The exit status is still the answer."""
    for command in (COMMAND, [str(launcher), "check"]):
        with host(lines(*ACCEPTING)) as place, Path("/dev/full").open("wb") as full:
            done = subprocess.run([*command, place], cwd=TREE, stdout=full, check=False)
        assert done.returncode == 1
        with host(lines(*ACCEPTING)) as place:
            closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command, place]
            done = subprocess.run(closed, cwd=TREE, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (1, b"")


def test_without_dnspython() -> None:
    """It is not needed for an address; for a name, a line says that DNS was not asked."""
    command = without("dns", "rich")
    with served("::", "--refuse-at=rcpt") as place:
        assert "DNS" not in check(place.replace("[::]", "[127.0.0.1]"), command=command)[1]
        name = place.replace("[::]", "localhost")
        status, without_dns = check("--no-dns", name, command=command)
        assert (status, without_dns.count("refuses at rcpt"), "DNS" in without_dns) == (0, 1, False)
        status, said = check(name, command=command)
        assert (status, said.splitlines()[-1]) == (0, f"DNS: {NO_DNSPYTHON}")
        assert said.count("\n") == without_dns.count("\n") + 1
    words = [*command, "--resolver=127.0.0.1", "localhost"]
    done = subprocess.run(words, cwd=TREE, capture_output=True, check=False)
    assert (done.returncode, NO_DNSPYTHON in done.stderr.decode()) == (64, True)


def test_a_check_of_an_address_imports_nothing_slow() -> None:
    """It is the health check of a container."""
    words = [sys.executable, "-X", "importtime", "-m", "null521", "check"]
    with served("127.0.0.1", "--refuse-at=rcpt") as place:
        done = subprocess.run([*words, place], cwd=TREE, capture_output=True, check=True)
    imported = {line.split(b"|")[-1].strip() for line in done.stderr.splitlines()}
    assert b"null521.check.probe" in imported
    assert not imported & {b"dns", b"rich", b"ssl", b"hashlib", b"asyncio", b"logging"}


def test_interrupt() -> None:
    is_asked = threading.Event()

    def answer(connection: socket.socket) -> None:
        is_asked.set()
        silent(connection)

    with host(answer) as place:
        process = subprocess.Popen(
            # The background jobs of a shell ignore SIGINT, and so do their children.
            ["env", "--default-signal=INT", *COMMAND, place],
            cwd=TREE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert is_asked.wait(TEST_TIMEOUT)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TEST_TIMEOUT) == (b"", b"")
        assert process.returncode == 130


PLACE = "argument HOST[:PORT]: "
NO_PORT = f"{PLACE}the port must be 1 to 65535; give HOST[:PORT], not a URL"
NO_SECONDS = "argument --timeout: must be seconds, more than 0 and at most 600"


def url(shown: str) -> str:
    return f"{PLACE}'{shown}': give HOST[:PORT], not a URL"


def no_name(shown: str) -> str:
    return f"{PLACE}{shown} is not a host name or address; give HOST[:PORT], not a URL"


LONG = ["x" * 64 + ".example", ".".join(["x" * 60] * 5)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: HOST[:PORT]"),
        (["h:x"], NO_PORT),
        ([":25"], no_name("':25'")),
        (["[::1]:65536"], NO_PORT),
        ([""], no_name("''")),
        (["h:0"], NO_PORT),
        (["http://h"], url("http://h")),
        (["http://h/"], url("http://h/")),
        (["https://h:25/"], url("https://h:25/")),
        (["smtp://" + "h" * 60], url("smtp://" + "h" * 53)),
        (["h:25/"], NO_PORT),
        (["root@h"], no_name("'root@h'")),
        (["--timeout=10s", "h"], NO_SECONDS),
        (
            ["--resolver=https://h", "h"],
            "argument --resolver: 'https://h': give HOST[:PORT], not a URL",
        ),
        (["a..b"], no_name("'a..b'")),
        (["a b"], no_name("'a b'")),
        (["h\x1b"], no_name(r"'h\x1b'")),
        ([LONG[0]], no_name(f"'{LONG[0][:60]}'")),
        ([LONG[1]], no_name(f"'{LONG[1][:60]}'")),
        (["h", "i"], "unrecognized arguments: i"),
        (["h", "i\nj"], "unrecognized arguments: i j"),
        (["--timeout=0", "h"], NO_SECONDS),
        (["--timeout=601", "h"], NO_SECONDS),
        (["--timeout=nan", "h"], NO_SECONDS),
        (["--timeout=1e9", "h"], NO_SECONDS),
        (["--timeout=x", "h"], NO_SECONDS),
        (["--resolver=h", "h"], "argument --resolver: 'h' is not an address"),
        (["--resolv=127.0.0.1", "h"], "unrecognized arguments: --resolv=127.0.0.1"),
        (["--no", "h"], "unrecognized arguments: --no"),
    ],
)
def test_usage_errors(words: list[str], message: str) -> None:
    """One line says what is wrong, and the exit status is none of those that are an answer."""
    done = subprocess.run([*COMMAND, *words], cwd=TREE, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (64, b"")
    line = f"null521 check: {message}; see null521 check --help\n"
    assert done.stderr.decode() == line


def test_a_usage_error_that_cannot_be_written() -> None:
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND]
    done = subprocess.run(closed, cwd=TREE, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (64, b"")


def test_a_name_that_is_not_ascii() -> None:
    """It is looked up, and shown, in the form that DNS has."""
    status, said = check("--no-dns", "--timeout=1", "bl\u00e5b\u00e6r.invalid")
    assert status == 2
    assert said.startswith("xn--blbr-roah.invalid: undetermined: no address: ")


def test_help() -> None:
    status, said = check("--help")
    assert (status, said.startswith("usage: null521 check ")) == (0, True)
    assert "Exit status: 0 if the host refuses" in said
    assert " ".join(said.split()).endswith(
        "2 if undetermined; 64 for a usage error; DNS does not change it. "
        "With --strict: 3 instead of 0 if a fault is found."
    )
