"""Each superserver that we ship lines for, real, starts the program by those lines.

Each runs beside a journald in namespaces of its own, on port 25, so that the lines are used as
installed. scripts/prepare unpacks the superservers.
"""

import re
import shlex
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
from helpers.certificates import make
from helpers.namespaces import TEST_TIMEOUT, TREE, Journald
from helpers.superservers import COMMANDS, dial, serving

from null521.record import MISCONFIGURED, REFUSED

UNPACKED = TREE / "build" / "superservers"
OPERATING = TREE / "docs" / "operating.md"
INETD = str(UNPACKED / "openbsd-inetd/usr/sbin/inetd")
INETUTILS = str(UNPACKED / "inetutils-inetd/usr/sbin/inetutils-inetd")
XINETD = str(UNPACKED / "xinetd/usr/sbin/xinetd")
TCPSERVER = str(UNPACKED / "ucspi-tcp/usr/bin/tcpserver")
TCPSERVER6 = str(UNPACKED / "ucspi-tcp-ipv6/usr/bin/tcpserver")
TCPSVD = str(UNPACKED / "ipsvd/usr/bin/tcpsvd")
SOCAT = str(UNPACKED / "socat/usr/bin/socat")
STUNNEL = str(UNPACKED / "stunnel4/usr/bin/stunnel4")
NCAT = str(UNPACKED / "ncat/usr/bin/ncat")
ACTIVATE = "systemd-socket-activate"

# The codes of the replies to COMMANDS of helpers.superservers, for each stage.
CODES = {
    "greeting": [521, 521, 521, 521, 521, 221],
    "helo": [220, 521, 521, 521, 521, 221],
    "mail": [220, 250, 250, 250, 250, 250, 521, 521, 521, 221],
    "rcpt": [220, 250, 250, 250, 250, 250, 250, 521, 521, 221],
}


def runs_as_nobody(launcher: Path) -> bool:
    """Whether the user "nobody" can start the interpreter, which may be in root's home."""
    command = [str(launcher), "--version"]
    try:
        subprocess.run(command, check=True, user="nobody", extra_groups=[], capture_output=True)
    except PermissionError:
        return False
    return True


def example(launcher: Path, name: str, stage: str, ipv6: str = "") -> str:
    """An example file as installed, with only the two lines for this stage and inetd active."""
    text = (launcher.parent.parent / "share/doc/null521" / name).read_text()
    if name == "inetd.conf.example":
        lines = [line.removeprefix("#") for line in text.splitlines() if "\tstream\t" in line]
        wanted = [line for line in lines if line.endswith(f"--refuse-at={stage}")]
        text = "".join(line + "\n" for line in wanted if line.split()[2] in ("tcp", ipv6))
        assert text.count("\n") == 2
    else:
        assert "server_args\t= --refuse-at=rcpt\n" in text
        text = text.replace("--refuse-at=rcpt", f"--refuse-at={stage}")
    return text if runs_as_nobody(launcher) else text.replace("nobody", "root")


def documented(program: str, executable: str, launcher: Path) -> list[str]:
    """The line of docs/operating.md for that program."""
    line = re.search(rf"(?m)^    {program} .*$", OPERATING.read_text())
    assert line
    text = line[0].replace("/usr/local/bin/null521", str(launcher))
    if not runs_as_nobody(launcher):
        text = text.replace("nobody", "root").replace("65534", "0")
    return [executable, *shlex.split(text)[1:]]


def command(name: str, launcher: Path, host: str, stage: str, folder: Path) -> list[str]:
    """The command that makes this superserver answer on port 25."""
    conf = folder / "conf"
    if name == "xinetd":
        conf.write_text(example(launcher, "null521.xinetd", stage))
    else:
        ipv6 = "tcp6only" if name == "inetutils-inetd" else "tcp6"
        conf.write_text(example(launcher, "inetd.conf.example", stage, ipv6))
    program = [str(launcher), f"--refuse-at={stage}"]
    listen = f"[{host}]:25" if ":" in host else f"{host}:25"
    socat = f"TCP{'6' if ':' in host else '4'}-LISTEN:25,bind={listen[:-3]},fork,reuseaddr"
    return {
        "openbsd-inetd": [INETD, "-i", str(conf)],
        "inetutils-inetd": [INETUTILS, "-d", str(conf)],
        "xinetd": [XINETD, "-dontfork", "-f", str(conf), "-pidfile", str(folder / "pid")],
        "tcpserver": documented("tcpserver", TCPSERVER, launcher),
        "tcpserver-ipv6": documented("tcpserver", TCPSERVER6, launcher),
        "tcpsvd": documented("tcpsvd", TCPSVD, launcher),
        "socat documented": documented("socat", SOCAT, launcher),
        "socket-activate --inetd": [ACTIVATE, "--accept", "--inetd", "-l", listen, *program],
        "socket-activate": [ACTIVATE, "--accept", "-l", listen, *program],
        "socat nofork": [SOCAT, socat, f"EXEC:{' '.join(program)},nofork"],
        "socat": [SOCAT, socat, f"EXEC:{' '.join(program)}"],
        "socat pipes": [SOCAT, socat, f"EXEC:{' '.join(program)},pipes"],
        "ncat": [NCAT, "-k", "-l", host, "25", "-e", " ".join(program)],
    }[name]


NAMES = ["openbsd-inetd", "inetutils-inetd", "xinetd", "tcpserver", "tcpserver-ipv6", "ncat"]
NAMES += ["socket-activate --inetd", "socket-activate", "socat nofork", "socat", "socat pipes"]
NAMES += ["socat documented", "tcpsvd"]
BOTH = [(name, host) for name in NAMES for host in ("127.0.0.1", "::1")]
BOTH = [both for both in BOTH if both not in (("tcpserver", "::1"), ("tcpsvd", "::1"))]  # IPv4 only
UNPRIVILEGED = ["openbsd-inetd", "inetutils-inetd", "xinetd"]
UNPRIVILEGED += ["tcpserver", "tcpserver-ipv6", "tcpsvd", "socat documented"]


def codes(received: str) -> list[int]:
    assert received.endswith("\r\n")
    assert received.count("\n") == received.count("\r\n")
    return [int(line[:3]) for line in received.splitlines()]


@pytest.mark.parametrize(("name", "host"), BOTH, ids=lambda value: value)
def test_it_refuses_the_mail_and_records_the_client(
    journald: Journald, launcher: Path, tmp_path: Path, name: str, host: str
) -> None:
    with serving(journald, command(name, launcher, host, "rcpt", tmp_path)):
        for attempt in (1, 2):
            ((port, received),) = dial(journald, host)
            assert codes(received) == CODES["rcpt"]
            entries = journald.wait_for(attempt, f"MESSAGE_ID={REFUSED}")
            entry = entries[-1]
            assert (entry["NULL521_CLIENT"], entry["NULL521_CLIENT_PORT"]) == (host, str(port))
            assert (entry["NULL521_SENDER"], entry["NULL521_RECIPIENT"]) == ("a@b.c", "x@y")
            assert entry["NULL521_ENDING"] == "quit"
            if name in UNPRIVILEGED and runs_as_nobody(launcher):
                assert entry["_UID"] == "65534"


def test_the_line_of_the_readme_for_tcpserver_is_the_same() -> None:
    line = re.search(r"(?m)^    tcpserver .*$", OPERATING.read_text())
    assert line
    assert f"{line[0]}\n" in (TREE / "README.md").read_text()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_stunnel_names_the_client_behind_its_own_connection(
    journald: Journald, launcher: Path, tmp_path: Path, host: str
) -> None:
    """With one client after another, each from an address and port of its own."""
    found = re.search(r"(?m)^    setuid = nobody\n(?:    .*\n)+", OPERATING.read_text())
    assert found
    text = textwrap.dedent(found[0]).replace(":::465", ":::25")
    cert, key = make(tmp_path)
    text = text.replace("/etc/null521/tls-cert.pem", str(cert))
    text = text.replace("/etc/null521/tls-key.pem", str(key))
    text = text.replace("/usr/local/bin/null521", str(launcher))
    if not runs_as_nobody(launcher):
        text = text.replace("nobody", "root").replace("nogroup", "root")
    conf = tmp_path / "stunnel.conf"
    conf.write_text(f"foreground = yes\npid =\nsyslog = no\n{text}")
    with serving(journald, [STUNNEL, str(conf)]):
        for attempt, client in enumerate(["127.0.0.2", "127.0.0.3"], 1):
            client = host if ":" in host else client
            port = 40000 + attempt
            words = ["openssl", "s_client", "-quiet", "-bind", f"[{client}]:{port}"]
            words += ["-connect", f"[{host}]:25"]
            given = {"input": COMMANDS.encode(), "timeout": TEST_TIMEOUT}
            done = journald.run(words, stdout=PIPE, stderr=DEVNULL, **given)
            assert codes(done.stdout.decode()) == CODES["rcpt"]
            entry = journald.wait_for(attempt, f"MESSAGE_ID={REFUSED}")[-1]
            named = (entry["NULL521_CLIENT"], entry["NULL521_CLIENT_PORT"])
            assert named == (client, str(port))


@pytest.mark.parametrize("stage", ["greeting", "helo", "mail"])
@pytest.mark.parametrize("name", ["openbsd-inetd", "inetutils-inetd", "xinetd"])
def test_the_lines_for_other_stages_refuse_there(
    journald: Journald, launcher: Path, tmp_path: Path, name: str, stage: str
) -> None:
    with serving(journald, command(name, launcher, "127.0.0.1", stage, tmp_path)):
        ((_, received),) = dial(journald, "127.0.0.1")
        assert codes(received) == CODES[stage]


@pytest.mark.parametrize("name", ["openbsd-inetd", "inetutils-inetd", "xinetd"])
def test_six_hundred_clients_are_all_answered(
    journald: Journald, launcher: Path, tmp_path: Path, name: str
) -> None:
    """At their default limits, these superservers would close the port for a while."""
    with serving(journald, command(name, launcher, "127.0.0.1", "rcpt", tmp_path)):
        answers = dial(journald, "127.0.0.1", "QUIT\r\n", 600)
        assert [codes(received) for _, received in answers] == [[220, 221]] * 600


@pytest.mark.parametrize("name", ["openbsd-inetd", "inetutils-inetd", "xinetd"])
def test_a_bad_setting_reaches_the_journal_and_not_the_client(
    journald: Journald, launcher: Path, tmp_path: Path, name: str
) -> None:
    """Standard error is the client's connection here."""
    words = command(name, launcher, "127.0.0.1", "rcpt", tmp_path)
    conf = tmp_path / "conf"
    conf.write_text(conf.read_text().replace("--refuse-at=rcpt", "--refuse-at=rcpt --idle=5"))
    with serving(journald, words):
        ((_, received),) = dial(journald, "127.0.0.1")
        assert codes(received) == CODES["rcpt"]
        (entry,) = journald.wait_for(1, f"MESSAGE_ID={MISCONFIGURED}")
        assert entry["MESSAGE"] == "'--idle=5' is not an option; see null521 --help"


def test_a_listening_socket_from_inetd_is_reported(
    journald: Journald, launcher: Path, tmp_path: Path
) -> None:
    """With `wait`, inetd hands over the listening socket; its rate limit ends the repetition."""
    words = command("openbsd-inetd", launcher, "127.0.0.1", "rcpt", tmp_path)
    conf = tmp_path / "conf"
    conf.write_text(conf.read_text().replace("nowait.100000", "wait.3"))
    connect = "import socket; socket.create_connection(('127.0.0.1', 25)).recv(1)"
    with serving(journald, words):
        client = journald.popen([sys.executable, "-c", connect], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TEST_TIMEOUT
        while not (entries := journald.entries(f"MESSAGE_ID={MISCONFIGURED}")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    client.kill()
    client.wait()
    assert entries[0]["MESSAGE"].startswith("standard input is a listening socket, but should be")


# One process for all connections, which inherits the listening socket.


def resident(name: str, launcher: Path, folder: Path) -> list[str]:
    """The command that makes it start `null521 serve`, which exits after 1 s without a client."""
    text = (launcher.parent.parent / "share/doc/null521/inetd.conf.example").read_text()
    lines = [line.removeprefix("#") for line in text.splitlines() if "\twait\t" in line]
    ipv6 = "tcp6only" if name == "inetutils-inetd" else "tcp6"
    conf = "".join(line + "\n" for line in lines if line.split()[2] in ("tcp", ipv6))
    assert conf.count("--exit-idle=600\n") == 2
    if name == "xinetd":
        conf = example(launcher, "null521.xinetd", "rcpt --exit-idle=600")
        conf = conf.replace("wait\t\t= no", "wait\t\t= yes").replace("= --ref", "= serve --ref")
    words = command(name, launcher, "127.0.0.1", "rcpt", folder)
    user = "nobody" if runs_as_nobody(launcher) else "root"
    conf = conf.replace("--exit-idle=600", "--exit-idle=1").replace("nobody", user)
    (folder / "conf").write_text(conf)
    return words


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["openbsd-inetd", "inetutils-inetd", "xinetd"])
def test_one_process_answers_until_it_is_idle_and_then_a_new_one(
    journald: Journald, launcher: Path, tmp_path: Path, name: str, host: str
) -> None:
    with serving(journald, resident(name, launcher, tmp_path)):
        answered: list[str] = []
        for attempt in (1, 2):
            answers = dial(journald, host, count=3)
            assert [codes(received) for _, received in answers] == [CODES["rcpt"]] * 3
            entries = journald.wait_for(3 * attempt, f"MESSAGE_ID={REFUSED}")[-3:]
            assert {entry["NULL521_CLIENT"] for entry in entries} == {host}
            ports = {entry["NULL521_CLIENT_PORT"] for entry in entries}
            assert ports == {str(port) for port, _ in answers}
            (pid,) = {entry["SYSLOG_PID"] for entry in entries}
            assert pid not in answered
            answered.append(pid)
            deadline = time.monotonic() + TEST_TIMEOUT
            while journald.run(["test", "-e", f"/proc/{pid}"], check=False).returncode == 0:
                assert time.monotonic() < deadline, "the process does not exit"
                time.sleep(0.05)
