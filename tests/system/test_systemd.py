"""The units as installed, under a real systemd: what they serve, show, survive and leave behind."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.host import CODES, SAID, active, dial, explained, flood, settings, shown, unset
from helpers.namespaces import TEST_TIMEOUT, Systemd
from helpers.program import until

from null521.record import MISCONFIGURED, REFUSED

UNIT = "null521@.service"
UNITS = ("null521.socket", UNIT)

# As many clients at once, of which eight wait to be greeted; then all are reset: socket(7).
RESET = """
import socket, sys
clients = [socket.create_connection(("127.0.0.1", 25)) for _ in range(int(sys.argv[1]))]
for client in clients[:8]:
    assert client.recv(4) == b"220 "
for client in clients:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    client.close()
"""


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A host on which the README's two commands have been typed."""
    with Systemd(tmp_path_factory.mktemp("systemd") / "host") as host:
        host.make("install")
        host.run(["systemctl", "enable", "--quiet", "--now", "null521.socket"])
        yield host


@pytest.fixture
def fresh(systemd: Systemd) -> Iterator[Systemd]:
    """The same host with an empty journal, and without the settings that a test may make."""
    systemd.run(["journalctl", "--quiet", "--rotate", "--vacuum-time=1us"])
    yield systemd
    unset(systemd, UNIT)


def test_verify(systemd: Systemd) -> None:
    words = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no"]
    paths = [f"/usr/local/lib/systemd/system/{unit}" for unit in UNITS]
    done = systemd.run([*words, *paths], capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_exposure(systemd: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["systemd-analyze", "security", "--no-pager", "null521@.service"]
    last = systemd.output(*words).splitlines()[-1]
    found = re.search(r"exposure level for null521@\S+: (\d+\.\d+)", last)
    with capsys.disabled():
        print(f" {last.strip()} ", end="")
    assert found, last
    assert float(found[1]) <= 0.5


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_refusal_and_its_record(fresh: Systemd, host: str) -> None:
    port, codes = dial(fresh, host)
    assert codes == CODES
    (entry,) = fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")
    usec = int(entry["NULL521_DURATION_USEC"])
    ours = {k: v for k, v in entry.items() if k.startswith("NULL521_")}
    assert ours == {
        "NULL521_CLIENT": host,
        "NULL521_CLIENT_PORT": str(port),
        "NULL521_HELO": "mx.b.c",
        "NULL521_SENDER": "a@b.c",
        "NULL521_RECIPIENT": "x@y",
        "NULL521_RECIPIENTS": "1",
        "NULL521_REFUSE_AT": "rcpt",
        "NULL521_COMMANDS": "5",
        "NULL521_OCTETS": str(len(SAID)),
        "NULL521_DURATION_USEC": str(usec),
        "NULL521_ENDING": "quit",
    }
    assert 0 < usec < TEST_TIMEOUT * 1e6
    assert 61184 <= int(entry["_UID"]) <= 65519  # a dynamic user: systemd.exec(5)
    # journald looks a sender's unit up in /proc, where a process this short may be gone by then.
    assert entry.get("_SYSTEMD_UNIT", "null521@").startswith("null521@")
    assert explained(fresh, REFUSED)
    # Nothing but our record: no warning, no traceback, and none of systemd's own lines.
    assert fresh.warnings("null521@*") == []
    assert_no_instance_stays(fresh)
    of_systemd = [one for one in fresh.entries("_PID=1") if "null521@" in one.get("UNIT", "")]
    assert [one for one in of_systemd if one["PRIORITY"] > "5"] == []


def test_starttls_with_the_certificate_that_make_install_made(fresh: Systemd) -> None:
    """By openssl, which hides EHLO's reply and speaks the rest as it is typed, inside TLS."""
    key = "/etc/null521/tls-key.pem"
    assert fresh.output("stat", "--format=%a %U", key) == "600 root\n"
    words = ["openssl", "s_client", "-quiet", "-starttls", "smtp", "-connect", "127.0.0.1:25"]
    talk = f"(printf '{{}}'; sleep 1) | {' '.join(words)} 2>&1"
    said = fresh.output("sh", "-c", talk.format(r"EHLO y\r\nRCPT TO:<x@y>\r\nQUIT\r\n"))
    assert "521 5.3.2 canon.example is configured NOT to accept any mail." in said
    assert "221 2.0.0 canon.example" in said
    (entry,) = fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")
    assert (entry["NULL521_TLS"], entry["NULL521_HELO"]) == ("TLSv1.3", "y")


@pytest.mark.parametrize("lost", ["tls-key.pem", "tls-cert.pem"])
def test_without_certificate_or_key_the_refusal_goes_on_in_clear(fresh: Systemd, lost: str) -> None:
    fresh.run(["mv", f"/etc/null521/{lost}", "/etc/null521/lost"])
    try:
        _, codes = dial(fresh)
        assert codes == [220, *CODES[2:]]  # one line less in EHLO's reply
        (entry,) = fresh.wait_for(1, f"MESSAGE_ID={MISCONFIGURED}")
        assert entry["MESSAGE"].startswith("STARTTLS is not available: /run/credentials/null521@")
        assert entry["PRIORITY"] == "4"
        assert_no_instance_stays(fresh)
    finally:
        fresh.run(["mv", "/etc/null521/lost", f"/etc/null521/{lost}"])


def test_settings_in_a_drop_in(fresh: Systemd) -> None:
    settings(fresh, UNIT, "Environment=NULL521_REFUSE_AT=greeting NULL521_HOSTNAME=ntp.example")
    _, codes = dial(fresh)
    assert codes == [521] * 5 + [221]
    (entry,) = fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")
    assert entry["NULL521_REFUSE_AT"] == "greeting"


def test_a_bad_setting_is_told_and_piles_up_nothing(fresh: Systemd) -> None:
    settings(fresh, UNIT, "Environment=NULL521_IDLE_TIMEOUT=soon")
    for count in (1, 2, 3):
        assert dial(fresh)[1] == CODES
        entries = fresh.wait_for(count, f"MESSAGE_ID={MISCONFIGURED}")
        assert entries[-1]["MESSAGE"].startswith("NULL521_IDLE_TIMEOUT is 'soon', but should be")
        assert entries[-1]["PRIORITY"] == "3"
    ends = fresh.wait_for(3, "EXIT_STATUS=78")
    assert all(end["UNIT"].startswith("null521@") for end in ends)
    assert {entry["MESSAGE"] for entry in entries} < set(fresh.warnings("null521@*"))
    assert_no_instance_stays(fresh)


def assert_no_instance_stays(systemd: Systemd) -> None:
    words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "null521@*"]
    deadline = time.monotonic() + TEST_TIMEOUT
    while left := systemd.output(*words):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_a_program_that_fails_piles_up_nothing(fresh: Systemd) -> None:
    settings(fresh, UNIT, "ExecStart=", "ExecStart=/bin/false")
    # Reset; or at its end, if it has sent nothing by then.
    with pytest.raises((subprocess.CalledProcessError, AssertionError)):
        dial(fresh)
    until(lambda: fresh.entries_of("null521@*", "EXIT_CODE=exited") != [])
    assert_no_instance_stays(fresh)
    assert active(fresh) == "active"


def test_what_an_instance_can_see(fresh: Systemd) -> None:
    """Its own root directory, read-only, no process but itself, and no network but the client."""
    look = (
        "import os, sys\n"
        "def reads(path):\n"
        "    try: return os.listdir(path) not in ([], ['ld.so.cache'])\n"
        "    except OSError: return False\n"
        "def does(function, *words):\n"
        "    try: function(*words)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print('\\r'.join(str(fact) for fact in (\n"
        "    sorted(os.listdir('/')),\n"
        "    [path for path in ('/home', '/root', '/etc', '/var/log', '/boot') if reads(path)],\n"
        "    does(os.mkdir, '/tmp/x'), does(os.mkdir, '/usr/x'), does(os.fork),\n"
        "    [x for x in os.listdir('/proc') if x.isdigit() and x != str(os.getpid())],\n"
        ")), end='\\r\\n')\n"
    )
    fresh.run(["tee", "/usr/local/bin/look"], input=look.encode(), stdout=subprocess.DEVNULL)
    # The one interpreter that may be executed there is the launcher's.
    interpreter = (
        fresh.output("head", "-n1", "/usr/local/bin/null521").split()[0].removeprefix("#!")
    )
    settings(fresh, UNIT, "ExecStart=", f"ExecStart={interpreter} -IS /usr/local/bin/look")
    words = [*fresh.client, "127.0.0.1", "25"]
    seen = json.loads(fresh.run(words, input=b"", stdout=subprocess.PIPE).stdout)[1]
    root, readable, tmp, usr, fork, others = seen.strip().split("\r")
    expected = ["dev", "etc", "lib", "lib64", "proc", "root", "run", "sys", "tmp", "usr", "var"]
    # /srv is where the tests have put a Python that is not the distribution's.
    assert root.replace("'srv', ", "") == str(expected)
    assert (readable, tmp, usr, fork, others) == ("[]", "False", "False", "False", "[]")


def test_journald_that_was_started_anew(fresh: Systemd) -> None:
    fresh.run(["systemctl", "restart", "systemd-journald"])
    assert dial(fresh)[1] == CODES
    fresh.wait_for(1, f"MESSAGE_ID={REFUSED}")


def pace(systemd: Systemd) -> int:
    """How many connections a second systemd accepts at most; 0 for no limit."""
    version = int(systemd.output("systemctl", "--version").split()[1])
    found = [shown(systemd, "null521.socket", f"PollLimit{x}") for x in ("IntervalUSec", "Burst")]
    assert found == (["1s", "20"] if version >= 255 else ["", ""])
    return 20 if version >= 255 else 0


def test_a_thousand_at_once(fresh: Systemd) -> None:
    """The socket must outlive it, and its queue drain.

    Most are turned away by the limits. Where systemd can pace the socket, clients wait instead, and
    more than MaxConnections= are answered.
    """
    # All that are answered start at once, so none is done before most are. On a busy machine, that
    # is longer than the unit gives to each.
    settings(fresh, UNIT, "RuntimeMaxSec=300")
    if pace(fresh):
        assert flood(fresh, 300) == 300
    else:
        assert 64 <= flood(fresh, 1000) <= 1000
    assert active(fresh) == "active"
    start = time.monotonic()
    assert dial(fresh)[1] == CODES
    assert time.monotonic() - start < 5
    assert_no_instance_stays(fresh)


def test_many_that_connect_and_reset(fresh: Systemd) -> None:
    rate = pace(fresh)
    count = 100 if rate else 300
    fresh.run([fresh.python, "-c", RESET, str(count)])
    assert active(fresh) == "active"
    start = time.monotonic()
    answer = ""
    while not answer.startswith("220 ") and time.monotonic() - start < TEST_TIMEOUT:
        # Those that were reset still count against the one address, until they have ended.
        words = [*fresh.client, "127.0.0.1", "25"]
        done = fresh.run(words, input=SAID, capture_output=True, check=False)
        answer = json.loads(done.stdout)[1] if done.returncode == 0 else ""
    assert answer.endswith("\r\n")
    assert_no_instance_stays(fresh)
    # Of the others, systemd starts nothing for those that are gone by then.
    endings = [e["NULL521_ENDING"] for e in fresh.entries(f"MESSAGE_ID={REFUSED}")]
    assert endings.count("reset") >= 8, endings
    assert endings.count("quit") == 1, endings


def test_one_address_cannot_take_all_places(fresh: Systemd) -> None:
    """Twenty that sit there keep out the twenty-first, and nobody from another address."""
    sit = (
        "import socket, sys\n"
        "held = [socket.create_connection(('127.0.0.1', 25)) for _ in range(20)]\n"
        "print([client.recv(3) for client in held].count(b'220'), flush=True)\n"
        "sys.stdin.read()\n"
    )
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", sit], **ends) as sitting:
        assert sitting.stdout
        assert int(sitting.stdout.readline()) == 8
        assert dial(fresh, "::1")[1] == CODES
        sitting.communicate()


def test_uninstall(tmp_path: Path) -> None:
    with Systemd(tmp_path / "host") as host:
        before = host.output("find", "/usr/local")
        host.make("install")
        host.run(["systemctl", "enable", "--quiet", "--now", "null521.socket"])
        assert dial(host)[1] == CODES
        host.run(["systemctl", "disable", "--quiet", "--now", "null521.socket"])
        assert_no_instance_stays(host)
        host.make("uninstall")
        after = host.output("find", "/usr/local", "-not", "-type", "d")
        assert set(after.splitlines()) <= set(before.splitlines())
        assert "null521" not in host.output("find", "/usr/local")
        assert "null521" not in host.output("systemctl", "list-unit-files")
