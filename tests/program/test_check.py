"""null521 check against null521 in each stage, and against hosts that do otherwise."""

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
from pathlib import Path
from typing import Any

import pytest
from helpers.certificates import make, openssl_dates
from helpers.program import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st

from null521.check.cli import NO_DNSPYTHON, Place, ask

TREE = Path(__file__).parents[2]
STAGES = ("greeting", "helo", "mail", "rcpt")
COMMAND = [sys.executable, "-m", "null521", "check"]
REFUSED = "521 5.3.2 h.example is configured NOT to accept any mail."
UNNUMBERED = "521 h.example is configured NOT to accept any mail."


def check(*words: str, command: list[str] = COMMAND) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [*command, *words], cwd=TREE, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def found(*words: str) -> dict[str, Any]:
    """What it prints as JSON; of its addresses the only one."""
    status, said = check("--json", *words)
    document: dict[str, Any] = json.loads(said)
    assert document["status"] == status
    [document["at"]] = document["addresses"]
    return document


@contextlib.contextmanager
def handled(launcher: Path, *flags: str) -> Iterator[str]:
    """Where a superserver would be: each connection is answered by the launcher."""

    def answer() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = server.accept()
                with connection:
                    fd = connection.fileno()
                    subprocess.run([*words, *flags], stdin=fd, stdout=fd, check=True)

    words = [str(launcher), "--hostname=h.example", "--log=none"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def served(address: str, *flags: str) -> Iterator[str]:
    """Where null521 serve answers, on a socket that it is handed as inetd does it."""
    words = [sys.executable, "-m", "null521", "serve", "--hostname=h.example", "--log=none"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        process = subprocess.Popen([*words, *flags], cwd=TREE, stdin=server.fileno())
        with process:
            try:
                yield f"[{address}]:{server.getsockname()[1]}"
            finally:
                process.kill()


Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def host(*answers: Answer) -> Iterator[str]:
    """A real socket where each connection is dealt with by the next of the answers."""

    def answer() -> None:
        for each in answers:
            connection, _ = server.accept()
            connection.settimeout(PATIENCE)
            with connection, contextlib.suppress(ConnectionError):
                each(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def saying(*replies: str, heard: list[bytes] | None = None) -> Answer:
    """The connection itself and each line get the next of the replies; then the host hangs up."""

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for reply in replies:
                connection.sendall(reply.encode("latin-1"))
                line = lines.readline()
                if heard is not None:
                    heard.append(line)

    return answer


def lines(*replies: str, heard: list[bytes] | None = None) -> Answer:
    """As saying(), with the ends of the lines."""
    return saying(*(f"{reply}\r\n" for reply in replies), heard=heard)


def dripping(connection: socket.socket) -> None:
    """A greeting, octet by octet, that takes half a minute."""
    with contextlib.suppress(OSError):
        for octet in b"220 " + b"h" * 600:
            connection.sendall(bytes([octet]))
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100):  # the client has given up
                    return


def flooding(connection: socket.socket) -> None:
    """Octets without an end of line, as fast as they go."""
    while True:
        connection.sendall(b"220 " + b"h" * 65536)


def silent(connection: socket.socket) -> None:
    """Until the client gives up."""
    assert connection.recv(100) == b""


# null521.


@pytest.mark.parametrize("stage", STAGES)
def test_a_handler_in_each_stage(launcher: Path, stage: str) -> None:
    with handled(launcher, f"--refuse-at={stage}") as place:
        status, said = check(place)
        document = found(place)
    text = UNNUMBERED if stage in ("greeting", "helo") else REFUSED
    assert (status, said) == (0, f"{place} refuses at {stage}: '{text}'\n")
    at = document["at"]
    assert (at["stage"], at["not_refused"], at["hangs_up"]) == (stage, [], False)
    assert at["starttls"] is None
    codes = {command: reply["code"] for command, reply in at["replies"].items()}
    assert list(codes)[:3] == ["greeting", "EHLO", "MAIL"] if codes["EHLO"] == 250 else "HELO"
    assert codes.pop("QUIT") == 221
    last = ("RCPT", "RCPT <postmaster>", "DATA", "VRFY", "XNULL521")
    assert {codes[command] for command in last} == {521}
    assert stage != "greeting" or set(codes.values()) == {521}
    assert 0 < at["seconds"]["greeting"] <= at["seconds"]["refusal"] < PATIENCE


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_server_in_each_stage(stage: str, address: str) -> None:
    with served(address, f"--refuse-at={stage}") as place:
        status, said = check(place)
    text = UNNUMBERED if stage in ("greeting", "helo") else REFUSED
    assert (status, said.endswith(f" refuses at {stage}: '{text}'\n")) == (0, True)
    assert said.count("\n") == 1


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
    """Mail is refused all the same; but not to who insists on TLS."""
    cert, _ = make(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = make(tmp_path / "other")
    with handled(launcher, "--refuse-at=rcpt", f"--tls-cert={cert}", f"--tls-key={key}") as place:
        status, said = check(place)
        document = found(place)
    fault = "STARTTLS does not work: it is answered '454 4.7.0 TLS is not available'"
    assert status == 0
    assert said.splitlines() == [f"{place} refuses at rcpt: '{REFUSED}'", f"127.0.0.1: {fault}"]
    [group] = document["senders"]
    assert {sender["insisting"] for sender in group["senders"]} == {"keeps the mail for days"}


# Others.

OFFER = "250-h\r\n250-STARTTLS\r\n250 X"
ALWAYS = ["521 h"] * 10
ASKING = ["220 h", "250 h", "250 ok", "521 no", "521 no", "354 go ahead", "250 ok"]
ACCEPTING = ["220 h", "250 h", "250 ok", "250 ok", "221 h"]


HOSTS: dict[str, tuple[list[str], int, str]] = {
    "accepts": (ACCEPTING, 1, "takes mail: to RCPT it says '250 ok'"),
    "lies": (
        ["521 h", "250 h", "250 ok", "250 ok", "221 h"],
        1,
        "refuses at greeting, but not EHLO, MAIL, RCPT: to RCPT it says '250 ok'",
    ),
    "takes DATA": (
        ASKING,
        1,
        "refuses at rcpt, but not DATA: to DATA it says '354 go ahead'",
    ),
    # As Postfix does, whatever it is told to reject.
    "takes mail for postmaster": (
        ["220 h", "250 h", "250 ok", "554 no", "250 ok", "221 h"],
        1,
        "takes mail: to RCPT <postmaster> it says '250 ok'",
    ),
    "refuses all but postmaster": (
        ["220 h", "250 h", "250 ok", "521 no", "250 ok", "221 h"],
        1,
        "refuses at rcpt, but not RCPT <postmaster>: to RCPT <postmaster> it says '250 ok'",
    ),
    "puts off": (
        ["220 h", "250 h", "250 ok", "450 later", *ALWAYS],
        1,
        "does not refuse with 521: to RCPT it says '450 later'",
    ),
    "another code": (
        ["220 h", "250 h", "250 ok", "550 \x1b[2J\xe9", *ALWAYS],
        1,
        r"does not refuse with 521: to RCPT it says '550 \x1b[2J\ufffd'",
    ),
    "other codes after 521": (
        [*ASKING[:5], "503 no", "252 yes", "500 x", "250 ok", "250 ok", "221 h"],
        1,
        "refuses at rcpt, but not DATA, VRFY, XNULL521: to DATA it says '503 no'",
    ),
    "not HELO": (
        ["220 h", "521 h", "250 h", *ALWAYS],
        1,
        "refuses at helo, but not HELO: to HELO it says '250 h'",
    ),
    "HELO only": (
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
        "does not refuse with 521: to greeting it says '554 no', and hangs up",
    ),
    "busy": (["421 busy"], 2, "could not tell: to greeting it says '421 busy'"),
    "hangs up for no reason": (
        ["220 h"],
        2,
        "could not tell: it hung up before an answer to EHLO",
    ),
    "many lines": (
        ["220-a\r\n220-b\r\n220 c", "250 h", "250 ok", "521-not\r\n521-at\r\n521 all", *ALWAYS],
        0,
        "refuses at rcpt: '521 all'",
    ),
    "no text": (["220", "250", "250", *["521"] * 10], 0, "refuses at rcpt: '521 '"),
    "no SMTP": (["SSH-2.0-x"], 2, "could not tell: it does not speak SMTP, but says 'SSH-2.0-x'"),
    "garbage": (
        ["\x00\xff\x1b]0;x\x07" * 20],
        2,
        r"could not tell: it does not speak SMTP, but says '\x00\xff\x1b]0;x",
    ),
    "endless reply": (["220-h\r\n" * 100], 2, "could not tell: a reply of more than 64 lines"),
    "no such code": (["999 h"], 2, "could not tell: it does not speak SMTP, but says '999 h'"),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_other_hosts(kind: str) -> None:
    replies, status, words = HOSTS[kind]
    with host(lines(*replies)) as place:
        found, said = check(place)
    separator = ": " if status == 2 else " "
    assert (found, said.count("\n")) == (status, 1), said
    assert said.startswith(f"{place}{separator}{words}")
    assert said.isascii()
    assert said.rstrip("\n").isprintable()


def test_no_message_is_ever_sent() -> None:
    """Not even to a host that asks for one."""
    heard: list[bytes] = []
    with host(lines(*ASKING, heard=heard)) as at:
        check(at)
    assert [line[:4] for line in heard] == [b"EHLO", b"MAIL", b"RCPT", b"RCPT", b"DATA", b"", b""]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (silent, "greeting not answered within 1 s"),
        (dripping, "greeting not answered within 1 s"),
        (flooding, "a line of more than 1024 octets"),
    ],
)
def test_hosts_that_would_hold_it_up(answer: Answer, words: str) -> None:
    with host(answer) as place:
        assert check("--timeout=1", place) == (2, f"{place}: could not tell: {words}\n")


def test_replies_octet_by_octet() -> None:
    """However they are cut, they are replies."""

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for reply in ("220-h\r\n220 h", "250-h\r\n250 X", "250 ok", *["521 no"] * 7, "221 h"):
                for octet in f"{reply}\r\n".encode():
                    connection.sendall(bytes([octet]))
                lines.readline()

    with host(answer) as place:
        assert check(place) == (0, f"{place} refuses at rcpt: '521 no'\n")


def test_silence_after_the_refusal() -> None:
    """A sender would wait for minutes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"521 no\r\n")
        while connection.recv(100):
            pass

    with host(answer) as place:
        words = "could not tell: EHLO not answered within 1 s"
        assert check("--timeout=1", place) == (2, f"{place}: {words}\n")


def test_a_port_that_never_accepts() -> None:
    """With room in its queue, and then without, where the kernel does not even answer."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = f"127.0.0.1:{server.getsockname()[1]}"
        words = "could not tell: greeting not answered within 1 s"
        assert check("--timeout=1", place) == (2, f"{place}: {words}\n")
        while True:  # what does not fit into the queue is not connected
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            try:
                client.connect(server.getsockname())
            except TimeoutError:
                break
        words = "could not tell: connection not answered within 1 s"
        assert check("--timeout=1", place) == (2, f"{place}: {words}\n")


def test_a_reset() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"220 h\r\n")
        connection.recv(1)  # and no more: to close with octets unread sends a RST

    with host(answer) as place:
        words = "could not tell: it hung up before an answer to EHLO"
        assert check(place) == (2, f"{place}: {words}\n")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_closed_port(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
    status, said = check(f"[{address}]:{port}")
    assert (status, "could not tell: connection failed: connection refused\n" in said) == (2, True)


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
    """There is a verdict, and nothing in it that a terminal would obey."""
    with host(saying(*(reply.decode("latin-1") for reply in replies))) as place:
        port = int(place.rpartition(":")[2])
        found = ask("127.0.0.1", Place("127.0.0.1", port), 0.05)
    words = found.verdict.of("h")
    assert found.verdict.status in (0, 1, 2)
    assert words.isascii()
    assert words.isprintable()
    assert len(words) < 2000


# Others, under TLS.


def securing(pair: tuple[str, str], *replies: str, go: bytes = b"220 go\r\n") -> Answer:
    """One that offers STARTTLS, and under it gives each line the next of the replies."""

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


def test_one_that_refuses_in_clear_only(pair: tuple[str, str]) -> None:
    with host(IN_CLEAR, securing(pair, "250 h", "250 ok", "250 ok", "221 h")) as place:
        words = "refuses at rcpt: '521 no'; but under TLS it takes mail: to RCPT it says '250 ok'"
        assert check(place) == (1, f"{place} {words}\n")


def test_what_comes_in_clear_behind_the_reply_to_starttls(pair: tuple[str, str]) -> None:
    """It is not taken for what is said under TLS."""
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
        (b"", False, "it hung up before an answer to STARTTLS"),
        (b"", True, "STARTTLS not answered within 1 s"),
        (b"521 no TLS here\r\n", True, "STARTTLS failed: wrong version number"),
    ],
)
def test_no_tls(octets: bytes, waits: bool, words: str) -> None:
    with host(IN_CLEAR, in_place_of_tls(octets, waits)) as place:
        status, said = check("--timeout=1", place)
    fault = f"127.0.0.1: STARTTLS does not work: {words}"
    assert (status, said.splitlines()) == (0, [f"{place} refuses at rcpt: '521 no'", fault])


# What it prints, and where.


def without(*modules: str) -> list[str]:
    """The command, where these are not installed."""
    blocked = ";".join(f"sys.modules['{name}'] = None" for name in modules)
    program = f"import sys; {blocked}; from null521.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, "check"]


def on_a_terminal(*words: str, command: list[str] = COMMAND) -> str:
    """What it prints on one, with the colours taken out."""
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
    "Postfix": "keeps the mail for days",
    "Exim": "bounces one, keeps the next",
    "OpenSMTPD": "keeps the mail for days",
    "sendmail": "bounces at once",
}


def test_on_a_terminal() -> None:
    """With tables by rich; without it, in the same words."""
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
        [first] = [row for row in cells if row[0] == "127.0.0.1"]
        assert (first[1:3], first[-1]) == (["greeting", "always 521"], "not offered")
        seen = {row[0].split()[0]: row[1:] for row in cells if len(row) == 3}
        assert seen.pop("sender") == ["as it comes", "where it insists on TLS"]
        assert seen == {sender: [outcome, outcome] for sender, outcome in SENDERS.items()}


@pytest.mark.parametrize("command", [COMMAND, without("rich")], ids=["rich", "without"])
def test_what_a_host_says_is_no_markup(command: list[str]) -> None:
    hostile = "521 [red]x[/red] [link=http://x]y[/link] :smile: \x1b[2J\x9b2J"
    shown = r"'521 [red]x[/red] [link=http://x]y[/link] :smile: \x1b[2J\ufffd2J'"
    with host(lines(hostile)) as place:
        assert f"{place} refuses at greeting, and hangs up: {shown}\n" in on_a_terminal(
            place, command=command
        )


def test_no_prediction_where_nobody_has_tried() -> None:
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


def test_by_the_launcher(launcher: Path) -> None:
    """Which leaves nothing to Python to flush."""
    with served("127.0.0.1", "--refuse-at=rcpt") as place:
        status, said = check(place, command=[str(launcher), "check"])
        assert (status, said.count("refuses at rcpt")) == (0, 1)
        named = place.replace("[127.0.0.1]", "localhost")
        status, said = check(named, command=[str(launcher), "check"])
        assert (status, said.count("refuses at rcpt")) == (0, 1)


def test_where_nobody_reads_it(launcher: Path) -> None:
    for command in (COMMAND, [str(launcher), "check"]):
        with host(lines(*ACCEPTING)) as place, Path("/dev/full").open("wb") as full:
            done = subprocess.run([*command, place], cwd=TREE, stdout=full, check=False)
        assert done.returncode == 1
        with host(lines(*ACCEPTING)) as place:
            closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command, place]
            done = subprocess.run(closed, cwd=TREE, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (1, b"")


def test_without_dnspython() -> None:
    """An address needs none; of a name, DNS is left out, and it says so."""
    command = without("dns", "rich")
    with served("127.0.0.1", "--refuse-at=rcpt") as place:
        assert check(place, command=command)[1].count("\n") == 1
        name = place.replace("[127.0.0.1]", "localhost")
        status, said = check(name, command=command)
        assert (status, said.splitlines()[1:]) == (0, [f"DNS: {NO_DNSPYTHON}"])
        status, said = check("--no-dns", name, command=command)
        assert (status, said.count("\n")) == (0, 1)
    words = [*command, "--resolver=127.0.0.1", "localhost"]
    done = subprocess.run(words, cwd=TREE, capture_output=True, check=False)
    assert (done.returncode, NO_DNSPYTHON in done.stderr.decode()) == (64, True)


def test_an_address_does_without_what_takes_long_to_import() -> None:
    """It is the health check of a container."""
    words = [sys.executable, "-X", "importtime", "-m", "null521", "check"]
    with served("127.0.0.1", "--refuse-at=rcpt") as place:
        done = subprocess.run([*words, place], cwd=TREE, capture_output=True, check=True)
    imported = {line.split(b"|")[-1].strip() for line in done.stderr.splitlines()}
    assert b"null521.check.probe" in imported
    assert not imported & {b"dns", b"rich", b"ssl", b"asyncio", b"logging"}


def test_that_it_can_be_interrupted() -> None:
    is_asked = threading.Event()

    def answer(connection: socket.socket) -> None:
        is_asked.set()
        silent(connection)

    with host(answer) as place:
        process = subprocess.Popen(
            # A shell's background jobs, and what they start, ignore it otherwise.
            ["env", "--default-signal=INT", *COMMAND, place],
            cwd=TREE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert is_asked.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 130


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["h:x"],
        [":25"],
        ["[::1]:65536"],
        [""],
        ["h:0"],
        ["a..b"],
        ["a b"],
        ["h\x1b"],
        ["x" * 64 + ".example"],
        [".".join(["x" * 60] * 5)],
        ["h", "i"],
        ["--timeout=0", "h"],
        ["--timeout=nan", "h"],
        ["--timeout=1e9", "h"],
        ["--resolver=h", "h"],
        ["--resolv=127.0.0.1", "h"],
        ["--no", "h"],
    ],
)
def test_bad_arguments(words: list[str]) -> None:
    """Their status is none of those that are an answer."""
    done = subprocess.run([*COMMAND, *words], cwd=TREE, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (64, b"")
    *usage, complaint = done.stderr.decode().splitlines()
    assert usage[0].startswith("usage: null521 check ")
    assert complaint.startswith("null521 check: ")
    assert complaint.isprintable()
    assert len(complaint) < 200


def test_a_name_that_is_not_ascii() -> None:
    """It is asked for, and shown, as it is in DNS."""
    status, said = check("--no-dns", "--timeout=1", "bl\u00e5b\u00e6r.invalid")
    assert (status, said.startswith("xn--blbr-roah.invalid: could not tell: no address: ")) == (
        2,
        True,
    )


def test_help() -> None:
    status, said = check("--help")
    assert (status, said.startswith("usage: null521 check ")) == (0, True)
    assert "Exit status: 0 if the host refuses" in said
