"""The resident pair of units as installed, under a real systemd."""

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from helpers.host import (
    CODES,
    SAID,
    active,
    beside,
    dial,
    explained,
    flood,
    settings,
    shown,
    unset,
)
from helpers.namespaces import TREE, Systemd
from helpers.program import until

from null521.record import ENDINGS, MISCONFIGURED, REFUSED, STARTED
from null521.serve.clients import TLS_OCTETS

LAUNCHER = "/usr/local/bin/null521"
SOCKET, SERVICE = "null521-serve.socket", "null521-serve.service"
# Connections at once from networks that have one already: all of max-connections but a sixteenth.
PLACES = 10_000 - 10_000 // 16

# As many clients at once, from a hundred networks, each of which is greeted and then sits there;
# prints how many were, and what one more from one of these networks is told. Then all say QUIT;
# prints how many are answered.
CROWD = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
clients = []
for number in range(int(sys.argv[1])):
    client = socket.socket()
    client.settimeout(60)
    client.bind(("127.0.%d.1" % (1 + number % 100), 0))
    client.connect(("127.0.0.1", 25))
    clients.append(client)
print([client.recv(99)[:4] for client in clients].count(b"220 "))
with socket.create_connection(("127.0.0.1", 25), 60, ("127.0.1.1", 0)) as one_more:
    print(one_more.makefile().read())
sys.stdout.flush()
sys.stdin.read()
for client in clients:
    client.sendall(b"QUIT\\r\\n")
print([client.recv(99)[:4] for client in clients].count(b"221 "))
"""

# Clients one after the other, until standard input ends; prints how many, and how many were not
# answered in full.
STEADY = """
import select, socket, sys
done = bad = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    done += 1
    try:
        with socket.create_connection(("127.0.0.1", 25), 60) as client:
            client.sendall(b"EHLO x\\r\\nQUIT\\r\\n")
            said = client.makefile("rb").read()
            bad += not (said.startswith(b"220 ") and b"\\n221 " in said)
    except OSError:
        bad += 1
print(done, bad)
"""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A host on which the README's two commands have been typed."""
    with Systemd(tmp_path_factory.mktemp("systemd") / "host") as host:
        host.make("install")
        host.run(["systemctl", "enable", "--quiet", "--now", SOCKET])
        yield host


@pytest.fixture
def fresh(systemd: Systemd) -> Iterator[Systemd]:
    """The same host with an empty journal, no service yet, and no settings from another test."""
    systemd.run(["systemctl", "stop", SERVICE])
    systemd.run(["journalctl", "--quiet", "--rotate", "--vacuum-time=1us"])
    assert active(systemd, SOCKET) == "active"
    yield systemd
    unset(systemd, SERVICE)


def test_verify(systemd: Systemd) -> None:
    words = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no"]
    paths = [f"/usr/local/lib/systemd/system/{unit}" for unit in (SOCKET, SERVICE)]
    done = systemd.run([*words, *paths], capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_exposure(systemd: Systemd) -> None:
    last = systemd.output("systemd-analyze", "security", "--no-pager", SERVICE).splitlines()[-1]
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", last)
    assert found, last
    assert float(found[1]) <= 0.2


def test_the_first_client_starts_it_and_the_records_name_them_all(
    fresh: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert active(fresh, SERVICE) == "inactive"
    ports = {}
    for host in ("127.0.0.1", "::1", "127.0.0.1"):
        ports[host], codes = dial(fresh, host)
        assert codes == CODES
    until(lambda: active(fresh, SERVICE) == "active")
    begun, ready = (
        int(shown(fresh, SERVICE, f"{name}TimestampMonotonic"))
        for name in ("InactiveExit", "ActiveEnter")
    )
    with capsys.disabled():
        print(f" active after {(ready - begun) / 1e6:.2f} s ", end="")
    entries = fresh.wait_for(3, f"MESSAGE_ID={REFUSED}")
    assert {e["NULL521_CLIENT"]: int(e["NULL521_CLIENT_PORT"]) for e in entries} == ports
    for entry in entries:
        assert (entry["NULL521_SENDER"], entry["NULL521_RECIPIENT"]) == ("a@b.c", "x@y")
        assert (entry["NULL521_ENDING"], entry["NULL521_REFUSE_AT"]) == ("quit", "rcpt")
        assert entry["_SYSTEMD_UNIT"] == SERVICE
        assert 61184 <= int(entry["_UID"]) <= 65519  # a dynamic user: systemd.exec(5)
    # Neither warnings, nor a traceback: systemd's lines and ours.
    assert fresh.warnings(SERVICE) == []


def test_journalctl_explains_every_record(fresh: Systemd) -> None:
    """One of each message id that a server may write, by way of the installed catalog."""
    settings(fresh, SERVICE, "LimitNOFILE=80")
    dial(fresh)
    entries = [e for e in fresh.wait_for(3, "-t", "null521") if "MESSAGE_ID" in e]
    ids = {e["MESSAGE_ID"] for e in entries}
    assert ids == {MISCONFIGURED, STARTED, REFUSED}
    for message_id in ids:
        explained(fresh, message_id)


def test_journalctl_explains_every_ending(fresh: Systemd) -> None:
    dial(fresh)
    below = explained(fresh, REFUSED)
    for ending in ENDINGS:
        assert any(line.startswith(f"{ending}: ") for line in below), ending


def test_what_systemd_is_told(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "WatchdogSec=6")
    dial(fresh)
    until(lambda: shown(fresh, SERVICE, "StatusText").startswith("0 open, 1 over; 0 turned away"))


def test_starttls_with_the_certificate_that_make_install_made(fresh: Systemd) -> None:
    words = "openssl s_client -quiet -starttls smtp -connect 127.0.0.1:25 2>&1"
    said = r"EHLO y\r\nRCPT TO:<x@y>\r\nQUIT\r\n"
    heard = fresh.output("sh", "-c", f"(printf '{said}'; sleep 1) | timeout 20 {words}")
    assert "521 5.3.2 canon.example is configured NOT to accept any mail." in heard
    (entry,) = fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")
    assert (entry["NULL521_TLS"], entry["NULL521_HELO"]) == ("TLSv1.3", "y")


def test_a_certificate_of_ones_own_by_the_drop_in_of_the_documentation(fresh: Systemd) -> None:
    """Its lines replace those of the unit; after a renewal, a restart takes the new one."""
    _, _, text = (TREE / "docs/operating.md").read_text().partition("### A certificate of your own")
    lines = re.findall(r"^    (\w+=.*)$", text.partition("\n### ")[0], re.M)
    cert, key = (line.partition(":")[2] for line in lines)
    restart = re.search(r"^    (systemctl try-restart .*)$", text, re.M)
    assert restart

    def renew(name: str) -> None:
        fresh.run(["mkdir", "--parents", cert.rpartition("/")[0]])
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        files = ["-subj", f"/CN={name}", "-out", cert, "-keyout", key]
        fresh.run([*words.split(), *files], check=True)

    def subject() -> str:
        words = "openssl s_client -starttls smtp -connect 127.0.0.1:25 </dev/null 2>/dev/null"
        return fresh.output("sh", "-c", f"timeout 20 {words} | openssl x509 -noout -subject")

    renew("first.example")
    settings(fresh, SERVICE, *lines)
    assert "first.example" in subject()
    renew("second.example")
    assert "first.example" in subject()
    fresh.run(restart[1].split(), check=True)
    assert "second.example" in subject()
    assert fresh.warnings(SERVICE) == []


def test_a_server_that_hangs_is_started_anew(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "WatchdogSec=1")
    dial(fresh)
    pid = shown(fresh, SERVICE, "MainPID")
    assert int(pid) > 0
    fresh.run(["kill", "-STOP", pid])
    assert dial(fresh)[1] == CODES  # by the next one: the client has waited for it
    assert shown(fresh, SERVICE, "MainPID") != pid
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in fresh.entries_of(SERVICE))


def test_without_systemd_python(fresh: Systemd) -> None:
    """As on a host that lacks it: the launcher adds no directory in which it could be."""
    settings(fresh, SERVICE, "WatchdogSec=3")
    fresh.run(["cp", "--preserve", LAUNCHER, "/root/launcher"])
    fresh.run(["sed", "--in-place", "/^sys.path += (/,/^)/d", LAUNCHER])
    assert "dist-packages" not in fresh.output("cat", LAUNCHER)
    words = [
        fresh.output("head", "--lines=1", LAUNCHER).split()[0][2:],
        "-IS",
        "-c",
        "import systemd",
    ]
    assert fresh.run(words, check=False, stderr=subprocess.DEVNULL).returncode == 1
    try:
        assert dial(fresh)[1] == CODES
        until(lambda: active(fresh, SERVICE) == "active")
        before = shown(fresh, SERVICE, "MainPID")
        time.sleep(4.5)  # longer than the watchdog allows
        assert dial(fresh)[1] == CODES
        assert shown(fresh, SERVICE, "MainPID") == before
        until(lambda: shown(fresh, SERVICE, "StatusText").startswith("0 open, 2 over;"))
        entries = fresh.wait_for(2, f"MESSAGE_ID={REFUSED}")
        assert {e["NULL521_RECIPIENT"] for e in entries} == {"x@y"}
        fresh.run(["systemctl", "stop", SERVICE])
        assert shown(fresh, SERVICE, "Result") == "success"
        assert fresh.warnings(SERVICE) == []
    finally:
        fresh.run(["mv", "/root/launcher", LAUNCHER])


def test_a_socket_of_systemd_that_is_out_of_sight_is_told(fresh: Systemd) -> None:
    """As in a unit of one's own that has a root directory without it."""
    hide = "InaccessiblePaths=+/run/systemd/notify"
    settings(fresh, SERVICE, hide, "TimeoutStartSec=2", "Restart=no")
    assert dial(fresh)[1] == CODES
    entries = fresh.wait_for(1, f"MESSAGE_ID={MISCONFIGURED}")
    assert entries[0]["MESSAGE"] == (
        "systemd cannot be told the state (NOTIFY_SOCKET=/run/systemd/notify): Permission denied"
    )
    assert entries[0]["PRIORITY"] == "4"


def test_exit_when_idle_and_start_again(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "Environment=NULL521_EXIT_IDLE=0.5")
    for _ in range(2):
        assert dial(fresh)[1] == CODES
        until(lambda: active(fresh, SERVICE) == "inactive")
        assert shown(fresh, SERVICE, "Result") == "success"
        assert active(fresh, SOCKET) == "active"


def test_restart_without_a_refused_connection(fresh: Systemd) -> None:
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", STEADY], **ends) as clients:
        pids = set()
        for _ in range(3):
            fresh.run(["systemctl", "restart", SERVICE])
            pids.add(shown(fresh, SERVICE, "MainPID"))
        done, bad = map(int, clients.communicate()[0].split())
    assert (len(pids), bad) == (3, 0)
    assert done > 3


def test_who_is_still_there_at_the_end_is_told(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "Environment=NULL521_GRACE=0.2")
    sit = "import socket; print(socket.create_connection(('127.0.0.1', 25)).makefile().read())"
    with fresh.popen([fresh.python, "-c", sit], stdout=subprocess.PIPE) as sitting:
        until(lambda: active(fresh, SERVICE) == "active")
        until(lambda: fresh.output("ss", "-Hnt", "state", "established", "dport", "25") != "")
        time.sleep(0.5)  # until the greeting has gone out
        fresh.run(["systemctl", "stop", SERVICE])
        heard = sitting.communicate()[0].decode().split()
    assert (heard[0], "521" in heard) == ("220", True)
    (entry,) = fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")
    assert entry["NULL521_ENDING"] == "stopped"
    assert shown(fresh, SERVICE, "Result") == "success"


def test_a_bad_setting_is_told_and_mended_while_a_client_waits(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "Environment=NULL521_GRACE=soon")
    with fresh.popen(
        [*fresh.client, "127.0.0.1", "25"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdin
        client.stdin.write(SAID)
        client.stdin.close()
        client.stdin = None
        until(lambda: fresh.entries(f"MESSAGE_ID={MISCONFIGURED}") != [])
        until(lambda: fresh.entries_of(SERVICE, "EXIT_STATUS=78") != [])
        unset(fresh, SERVICE)
        assert b"221 2.0.0 canon.example" in client.communicate()[0]
    message = fresh.entries(f"MESSAGE_ID={MISCONFIGURED}")[0]["MESSAGE"]
    assert message.startswith("NULL521_GRACE is 'soon', but should be")
    assert active(fresh, SOCKET) == "active"


def test_metrics_by_the_drop_in_of_the_documentation(fresh: Systemd) -> None:
    _, _, text = (TREE / "docs/operating.md").read_text().partition("## Metrics")
    lines = re.findall(r"^    (\w+=.*)$", text.partition("\n## ")[0], re.M)
    assert "Environment=NULL521_METRICS=127.0.0.1:9521" in lines
    settings(fresh, SERVICE, *lines)
    for _ in range(3):
        assert dial(fresh)[1] == CODES
    curl = ["curl", "--silent", "--fail", "http://127.0.0.1:9521"]
    assert fresh.output(*curl[:-1], f"{curl[-1]}/ready") == "ready\n"
    scraped = fresh.output(*curl[:-1], f"{curl[-1]}/metrics")
    assert 'null521_connections_total{ending="quit"} 3.0\n' in scraped


def test_ten_thousand_at_once(fresh: Systemd) -> None:
    # If all are there before the first has gone, the last are told 521 at once.
    assert PLACES <= flood(fresh, 10_000) <= 10_000
    assert dial(fresh)[1] == CODES
    assert shown(fresh, SERVICE, "NRestarts") == "0"
    assert fresh.warnings(SERVICE) == []


def test_all_that_may_sit_there_and_one_more(fresh: Systemd) -> None:
    settings(fresh, SERVICE, "Environment=NULL521_IDLE_TIMEOUT=300 NULL521_SESSION_TIMEOUT=300")
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", CROWD, str(PLACES)], **ends) as crowd:
        assert crowd.stdout
        assert int(crowd.stdout.readline()) == PLACES
        assert crowd.stdout.readline().startswith(b"521 canon.example is configured NOT")
        assert dial(fresh)[1] == CODES  # from a network that has no connection yet
        rest = crowd.communicate()[0]
    assert int(rest) == PLACES
    entries = fresh.entries(f"MESSAGE_ID={REFUSED}", "NULL521_ENDING=too-many")
    assert [e["NULL521_CLIENT"] for e in entries] == ["127.0.1.1"]
    assert dial(fresh)[1] == CODES


def dial_and_find(host: Systemd, unit: str) -> bool:
    """Dial, and say whether the journal has anything by the unit.

    journald looks a sender's unit up in /proc, where a process this short may be gone by then.
    """
    assert dial(host)[1] == CODES
    return host.entries_of(unit) != []


def test_from_one_process_each_to_one_for_all_and_back(fresh: Systemd) -> None:
    """By the two commands of the README, each as it stands there."""
    commands = re.findall(r"^    (sudo systemctl disable --now \S+ &&.*)$", README, re.M)
    assert len(commands) == 2
    try:
        for command, unit in zip(reversed(commands), ("null521@*", SERVICE), strict=True):
            fresh.run(["sh", "-c", command.replace("sudo ", "")], stderr=subprocess.DEVNULL)
            until(lambda unit=unit: dial_and_find(fresh, unit))  # type: ignore[misc]
            states = [active(fresh, name) for name in ("null521.socket", SOCKET)]
            assert sorted(states) == ["active", "inactive"]
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            fresh.run(["systemctl", "disable", "--quiet", "--now", "null521.socket"])
        fresh.run(["systemctl", "enable", "--quiet", "--now", SOCKET])


# Addresses from 200 networks of IPv4, and one customer's /48 of IPv6.
IPV4 = [f"127.{1 + number // 100}.{number % 100}.1" for number in range(200)]
ATTACKS = {
    "19 octets that claim 128 KB, from 200 addresses": ["claim", "4000", *IPV4],
    "19 octets that claim 128 KB, from a /48": ["claim", "1000", "2001:db8:1::/48"],
    "half a ClientHello, from 200 addresses": ["part", "4000", *IPV4],
    "idle TLS from 200 addresses": ["tls", "2500", *IPV4],
    "idle TLS from a /48": ["tls", "1000", "2001:db8:1::/48"],
    "10,000 connections from a /56": ["silent", "10000", "2001:db8:2::/56"],
}
# How many may be in place, and how many are at least, so that it is an attack. Those that claim are
# disconnected at once; a few are seen before they are.
MOST = {"claim": 100, "part": 2100, "tls": 2000, "silent": 200}
LEAST = {"claim": 0, "part": 100, "tls": 100, "silent": 100}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_honest_client_beside(
    fresh: Systemd, capsys: pytest.CaptureFixture[str], attack: str
) -> None:
    """It is greeted soon, and refused at RCPT each time; memory stays below the unit's limit."""
    fresh.run(["ip", "-6", "route", "replace", "local", "2001:db8::/32", "dev", "lo"])
    # None of the crowd leaves before the last one has tried.
    settings(fresh, SERVICE, "Environment=NULL521_IDLE_TIMEOUT=300 NULL521_SESSION_TIMEOUT=300")
    assert dial(fresh)[1] == CODES
    limit = int(shown(fresh, SERVICE, "MemoryMax"))
    before = [shown(fresh, SERVICE, name) for name in ("NRestarts", "MainPID")]
    octets = 0
    with beside(fresh, *ATTACKS[attack]) as found:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            octets = max(octets, fresh.memory(SERVICE))
            time.sleep(0.1)
    with capsys.disabled():
        print(
            f" {octets / 2**20:.0f} MB, {found['in_place']} in place, p99 {found['p99']} ms ",
            end="",
        )
    assert found["tried"] == found["refused"] > 20, found
    assert found["p99"] < 2000  # ms; some tens on a quiet machine
    assert LEAST[ATTACKS[attack][0]] <= found["in_place"] <= MOST[ATTACKS[attack][0]]
    assert octets < limit / 2
    assert [shown(fresh, SERVICE, name) for name in ("NRestarts", "MainPID")] == before


def test_no_more_tls_than_its_memory_allows(fresh: Systemd) -> None:
    """NULL521_MAX_TLS in the unit, each with the most that one can hold (serve/cli.py)."""
    values = shown(fresh, SERVICE, "Environment").split()
    (most,) = (value.partition("=")[2] for value in values if value.startswith("NULL521_MAX_TLS="))
    assert int(most) * TLS_OCTETS <= int(shown(fresh, SERVICE, "MemoryMax")) // 2


README = (TREE / "README.md").read_text()
