"""`null521 check --local` on a healthy host and on broken ones, under a real systemd."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import certificates
from helpers.host import active, settings, shown
from helpers.namespaces import TEST_TIMEOUT, TREE, Journald, Systemd
from helpers.program import until

LOOK = ["/usr/local/bin/null521", "check", "--local"]
RESIDENT, HANDLER = "null521-serve.socket", "null521.socket"
SERVICES = {RESIDENT: "null521-serve.service", HANDLER: "null521@.service"}
UNITS = "/usr/local/lib/systemd/system"
TLS = "/etc/null521"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

# Another program on port 25, which takes everything, until standard input ends.
OTHER = """
import os, socket, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
listener = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    client, _ = listener.accept()
    client.sendall(b"220 mx ESMTP Exim\\r\\n")
    for line in client.makefile("rb"):
        client.sendall(b"250 OK\\r\\n")
"""
EVERYWHERE = '("::", 25), family=socket.AF_INET6, dualstack_ipv6=True'
assert EVERYWHERE in OTHER
MAIL_SERVER = OTHER.replace(EVERYWHERE, '("127.0.0.1", 25)')  # for mail of this host alone


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    with Systemd(tmp_path_factory.mktemp("systemd") / "host") as host:
        host.make("install")
        host.run(["cp", "-a", TLS, f"{TLS}.good"])
        yield host


# What brings back the state after `make install`, in one go: each systemctl takes a while.
AGAIN = f"""
systemctl disable --quiet --now {RESIDENT} {HANDLER}
systemctl stop null521-serve.service 'null521@*.service'
rm -rf /etc/systemd/system/null521* {TLS}
cp -a {TLS}.good {TLS}
systemctl daemon-reload
systemctl reset-failed
"""


@pytest.fixture
def fresh(systemd: Systemd) -> Iterator[Systemd]:
    """The same host as `make install` leaves it."""
    yield systemd
    systemd.run(["sh", "-ec", AGAIN])


@pytest.fixture
def up(fresh: Systemd) -> Systemd:
    """The same, with the resident pair enabled and active."""
    fresh.run(["systemctl", "enable", "--quiet", "--now", RESIDENT])
    return fresh


@pytest.fixture(params=[RESIDENT, HANDLER])
def either(request: pytest.FixtureRequest, fresh: Systemd) -> Systemd:
    """The same, with one of the two pairs."""
    fresh.run(["systemctl", "enable", "--quiet", "--now", request.param])
    return fresh


def look(
    host: Systemd | Journald, status: int, before: list[str] | None = None, *flags: str
) -> dict[str, Any]:
    """What --json prints; it has to exit with that status and say nothing else."""
    done = host.run([*(before or []), *LOOK, "--json", *flags], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (status, b""), done.stdout.decode()
    found = json.loads(done.stdout)
    assert found["status"] == status
    assert isinstance(found, dict)
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {name: part["state"] for name, part in found["parts"].items()}


# Healthy.


def test_a_healthy_host(either: Systemd) -> None:
    found = look(either, 0)
    assert set(states(found).values()) == {"ok"}
    assert list(found["parts"]) == [
        "units", "port", "answers", "settings", "certificate", "journal",
    ]  # fmt: skip
    assert (found["faults"], found["unknown"]) == ([], [])
    (listener,) = found["parts"]["port"]["listeners"]
    assert (listener["address"], listener["port"]) == ("::", 25)
    assert {"name": "systemd", "pid": 1} in listener["processes"]
    asked = found["parts"]["answers"]["addresses"]
    assert [(one["address"], one["stage"], one["starttls"]) for one in asked] == [
        ("::1", "rcpt", True),
        ("127.0.0.1", "rcpt", True),
    ]
    assert found["parts"]["settings"]["refuse_at"] == "rcpt"
    end = certificates_end(either)
    assert found["parts"]["certificate"]["not_after"] == end
    assert found["parts"]["certificate"]["file_not_after"] == end
    assert found["parts"]["journal"]["record"] is True


def certificates_end(host: Systemd) -> str:
    """By openssl."""
    words = ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601"]
    line = host.output(*words, "-in", f"{TLS}/tls-cert.pem")
    return "".join(c for c in line.partition("=")[2] if c.isdigit()) + "Z"


def test_what_people_see_fits_on_one_page(up: Systemd) -> None:
    lines = up.output(*LOOK).splitlines()
    assert lines[0] == "this host refuses mail as it should; no fault was found"
    assert len(lines) <= 40
    names = [line.split()[0] for line in lines[3:] if line and line[0] != " "]
    assert names == ["units", "port", "answers", "settings", "certificate", "journal", "versions"]
    page = "\n".join(lines)
    for version in ("null521 0.", "python 3.", "systemd 2", "openssl ", "kernel ", "release "):
        assert version in page


def test_nothing_secret_is_shown(up: Systemd) -> None:
    key = up.output("cat", f"{TLS}/tls-key.pem").splitlines()[1]
    settings(up, SERVICES[RESIDENT], "Environment=NULL521_TEXT=password SOME_TOKEN=hunter2")
    for words in ([*LOOK], [*LOOK, "--json"]):
        page = up.run(words, check=False, stdout=subprocess.PIPE).stdout.decode()
        for secret in (key, "hunter2", "SOME_TOKEN", "password"):
            assert secret not in page


def test_an_ordinary_user_is_told_what_needs_root(up: Systemd) -> None:
    found = look(up, 2, NOBODY)
    assert found["faults"] == []
    assert states(found) | {"journal": ""} == dict.fromkeys(found["parts"], "ok") | {"journal": ""}
    assert found["parts"]["journal"]["state"] == "unknown"
    (line,) = found["unknown"]
    assert "only root and the group systemd-journal" in line
    # STARTTLS itself has shown the certificate that only root can read.
    assert found["parts"]["certificate"]["not_after"] == certificates_end(up)


def test_without_a_bus_systemctl_has_nothing_to_say_to_an_ordinary_user(up: Systemd) -> None:
    up.run(["mv", "/run/dbus/system_bus_socket", "/run/dbus/away"])
    try:
        found = look(up, 2, NOBODY)
    finally:
        up.run(["mv", "/run/dbus/away", "/run/dbus/system_bus_socket"])
    assert found["parts"]["units"]["state"] == "unknown"
    assert any(line.startswith("units: systemctl: ") for line in found["unknown"])
    assert states(found)["answers"] == "ok"


# Broken: units.


def test_no_unit_is_enabled(fresh: Systemd) -> None:
    found = look(fresh, 1)
    assert found["faults"] == [
        "no unit is enabled: sudo systemctl enable --now null521-serve.socket",
        "nothing listens on port 25, so senders queue their mail for days",
    ]


def test_no_unit_is_installed(fresh: Systemd) -> None:
    fresh.run(["mv", UNITS, f"{UNITS}.away"])
    fresh.run(["systemctl", "daemon-reload"])
    try:
        found = look(fresh, 1)
    finally:
        fresh.run(["mv", f"{UNITS}.away", UNITS])
        fresh.run(["systemctl", "daemon-reload"])
    assert found["faults"][0].startswith("no unit of null521 is installed: ")


def test_both_units_are_enabled(either: Systemd) -> None:
    either.run(["systemctl", "enable", "--quiet", RESIDENT, HANDLER])
    other, running = sorted(SERVICES, key=lambda socket: active(either, socket) == "active")
    (fault,) = look(either, 1)["faults"]
    assert "are enabled, but use the same port" in fault
    command = f"sudo systemctl disable --now {other}"
    assert fault.endswith(f"to keep {running}: {command}")
    either.run(command.split()[1:])
    assert look(either, 0)["faults"] == []


def test_a_unit_that_is_not_enabled_is_off_after_the_next_boot(fresh: Systemd) -> None:
    fresh.run(["systemctl", "start", RESIDENT])
    (fault,) = look(fresh, 1)["faults"]
    assert fault.endswith(f"so it is off after the next boot: sudo systemctl enable {RESIDENT}")


def test_a_service_that_fails_at_each_start(fresh: Systemd) -> None:
    settings(fresh, SERVICES[RESIDENT], "Environment=NULL521_GRACE=soon")
    fresh.run(["systemctl", "enable", "--quiet", "--now", RESIDENT])
    found = look(fresh, 1, [], "--timeout=5")
    said = "\n".join(found["faults"])
    # It is started again each second, and may be seen at any time of that.
    assert re.search(
        "null521-serve.service (fails .exit-code, exit status 78|does not start)", said
    )
    assert {one["address"] for one in found["parts"]["answers"]["addresses"]} == {
        "::1", "127.0.0.1"
    }  # fmt: skip
    assert "NULL521_GRACE is 'soon', but should be seconds, at most 3600" in said
    assert states(found)["answers"] == "fault"


def test_a_stage_that_is_set_but_not_in_effect(fresh: Systemd) -> None:
    fresh.run(["systemctl", "enable", "--quiet", "--now", RESIDENT])
    look(fresh, 0)
    settings(fresh, SERVICES[RESIDENT], "Environment=NULL521_REFUSE_AT=mail")
    (fault,) = look(fresh, 1)["faults"]
    assert fault == (
        "the unit sets refuse-at=mail, but mail is refused at rcpt: "
        "sudo systemctl restart null521-serve.service"
    )
    fresh.run(fault.partition(": sudo ")[2].split())
    assert look(fresh, 0)["parts"]["settings"]["refuse_at"] == "mail"


def test_a_stage_at_which_senders_queue_the_mail(up: Systemd) -> None:
    settings(up, SERVICES[RESIDENT], "Environment=NULL521_REFUSE_AT=greeting")
    found = look(up, 1)
    assert all("so some senders queue the mail: set NULL521_REFUSE_AT=rcpt" in line
               for line in found["faults"])  # fmt: skip
    assert len(found["faults"]) == 2


def test_a_variable_that_is_misspelt(up: Systemd) -> None:
    settings(up, SERVICES[RESIDENT], "Environment=NULL521_HOST_NAME=ntp.example")
    (fault,) = look(up, 1)["faults"]
    assert fault.endswith("is not a setting; did you mean NULL521_HOSTNAME?")


def test_a_unit_that_has_changed_on_disk(up: Systemd) -> None:
    folder = f"/etc/systemd/system/{RESIDENT}.d"
    up.run(["sh", "-c", f"mkdir -p {folder} && printf '[Socket]\\nBacklog=9\\n' >{folder}/x.conf"])
    (fault,) = look(up, 1)["faults"]
    assert fault == f"{RESIDENT} has changed on disk: sudo systemctl daemon-reload"


# Broken: the port.


def test_the_port_is_taken(fresh: Systemd) -> None:
    fresh.run(["systemctl", "enable", "--quiet", RESIDENT])
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", OTHER], **ends) as other:
        assert other.stdout
        assert other.stdout.readline() == b"listening\n"
        fresh.run(["systemctl", "start", RESIDENT], check=False, capture_output=True)
        found = look(fresh, 1)
        hidden = look(fresh, 1, NOBODY)
        other.communicate(b"")
    (listener,) = found["parts"]["port"]["listeners"]
    (process,) = listener["processes"]
    name = fresh.python.rpartition("/")[2]
    assert process["name"] == name[:15]  # TASK_COMM_LEN less the NUL: proc(5)
    taken = f"[::]:25 is taken by {name[:15]} ({process['pid']}); stop that, then sudo systemctl"
    assert any(line.startswith(taken) for line in found["faults"])
    assert any("failed (resources)" in line for line in found["faults"])
    assert any("accepts mail" in line for line in found["faults"])
    assert any("a process of root, whose name only root can see" in line
               for line in hidden["faults"])  # fmt: skip


def test_another_program_at_another_address_is_named_and_no_fault(fresh: Systemd) -> None:
    settings(fresh, HANDLER, "[Socket]", "ListenStream=", "ListenStream=127.0.0.2:25")
    fresh.run(["systemctl", "enable", "--quiet", "--now", HANDLER])
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", MAIL_SERVER], **ends) as other:
        assert other.stdout
        assert other.stdout.readline() == b"listening\n"
        found = look(fresh, 0)
        other.communicate(b"")
    listeners = found["parts"]["port"]["listeners"]
    names = {one["address"]: one["processes"][0]["name"] for one in listeners}
    assert names == {"127.0.0.1": fresh.python.rpartition("/")[2][:15], "127.0.0.2": "systemd"}
    assert [one["address"] for one in found["parts"]["answers"]["addresses"]] == ["127.0.0.2"]


@pytest.mark.parametrize("unit", [HANDLER, RESIDENT])
def test_beside_a_mail_server_by_the_drop_in_of_the_documentation(
    fresh: Systemd, unit: str
) -> None:
    """The host has none of these addresses yet."""
    _, _, text = (TREE / "docs/operating.md").read_text().partition("### Beside a mail server")
    lines = re.findall(r"^    (\S+)$", text.partition("\n## ")[0], re.M)
    settings(fresh, unit, *lines)
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with fresh.popen([fresh.python, "-c", MAIL_SERVER], **ends) as other:
        assert other.stdout
        assert other.stdout.readline() == b"listening\n"
        fresh.run(["systemctl", "enable", "--quiet", "--now", unit])
        done = fresh.run([*LOOK, "--json"], check=False, capture_output=True)
        found = json.loads(done.stdout)
        other.communicate(b"")
    listeners = found["parts"]["port"]["listeners"]
    names = {one["address"]: one["processes"][0]["name"] for one in listeners}
    assert names.pop("127.0.0.1").startswith("python")
    assert names == {"192.0.2.1": "systemd", "2001:db8::1": "systemd"}


def test_a_socket_for_ipv6_alone(fresh: Systemd) -> None:
    settings(fresh, RESIDENT, "[Socket]", "BindIPv6Only=ipv6-only")
    fresh.run(["systemctl", "enable", "--quiet", "--now", RESIDENT])
    asked = look(fresh, 0)["parts"]["answers"]["addresses"]
    assert [one["address"] for one in asked] == ["::1"]


# Broken: certificate and key.


def put(host: Systemd, name: str, octets: bytes) -> None:
    host.run(["tee", f"{TLS}/{name}"], input=octets, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param("missing", f"{TLS}/tls-key.pem: No such file or directory", id="missing"),
        pytest.param("damaged", f"{TLS}/tls-key.pem has no PRIVATE KEY in PEM", id="damaged"),
        pytest.param("encrypted", f"{TLS}/tls-key.pem is encrypted", id="encrypted"),
        pytest.param("foreign", "do not work: ", id="of another certificate"),
    ],
)
def test_a_key_that_cannot_be_used(up: Systemd, tmp_path: Path, how: str, said: str) -> None:
    if how == "missing":
        up.run(["rm", f"{TLS}/tls-key.pem"])
    else:
        password = "secret" if how == "encrypted" else ""
        _, key = certificates.make(tmp_path, password=password)
        octets = b"-----BEGIN PRIVATE KEY-----\n=\n" if how == "damaged" else Path(key).read_bytes()
        put(up, "tls-key.pem", octets)
    found = look(up, 1)
    assert states(found)["certificate"] == "fault"
    assert any(said in line for line in found["faults"]), found["faults"]
    assert {one["status"] for one in found["parts"]["answers"]["addresses"]} == {0}


def test_a_certificate_that_has_expired(either: Systemd, tmp_path: Path) -> None:
    cert, key = certificates.make(tmp_path, "ec", "-days", "-1")
    put(either, "tls-cert.pem", Path(cert).read_bytes())
    put(either, "tls-key.pem", Path(key).read_bytes())
    found = look(either, 1)
    (fault,) = found["faults"]
    assert f"{TLS}/tls-cert.pem has a certificate that expired at " in fault
    assert found["parts"]["certificate"]["file_not_after"] == certificates.dates(cert)[1]
    assert not any(one["starttls"] for one in found["parts"]["answers"]["addresses"])


def test_a_certificate_that_soon_expires(up: Systemd, tmp_path: Path) -> None:
    cert, key = certificates.make(tmp_path, "ec", "-days", "3")
    put(up, "tls-cert.pem", Path(cert).read_bytes())
    put(up, "tls-key.pem", Path(key).read_bytes())
    (fault,) = look(up, 1)["faults"]
    assert "expires on " in fault
    assert fault.endswith(": renew it")


def test_a_certificate_that_was_renewed_without_a_restart(fresh: Systemd, tmp_path: Path) -> None:
    fresh.run(["systemctl", "enable", "--quiet", "--now", RESIDENT])
    look(fresh, 0)
    cert, key = certificates.make(tmp_path)
    put(fresh, "tls-cert.pem", Path(cert).read_bytes())
    put(fresh, "tls-key.pem", Path(key).read_bytes())
    (fault,) = look(fresh, 1)["faults"]
    command = "systemctl restart null521-serve.service"
    assert fault.endswith(f": sudo {command}")
    fresh.run(command.split())
    look(fresh, 0)


def test_a_key_outside_the_root_directory_of_the_unit(up: Systemd) -> None:
    settings(up, SERVICES[RESIDENT], f"Environment=NULL521_TLS_KEY={TLS}/tls-key.pem")
    (fault,) = look(up, 1)["faults"]
    assert fault.startswith(f"{TLS}/tls-key.pem is not in the unit's root directory")


def test_no_certificate_is_no_fault_if_none_is_set(either: Systemd) -> None:
    unset_both = "Environment=NULL521_TLS_CERT= NULL521_TLS_KEY="
    for service in SERVICES.values():
        settings(either, service, unset_both)
    assert look(either, 0)["parts"]["certificate"]["found"] == ["none, as set"]


# Broken: the journal.


def test_the_journal_cannot_be_written(up: Systemd) -> None:
    # Kept across boots by default, or not, as the release has it.
    places = up.output("sh", "-c", "ls -d /var/log/journal/* /run/log/journal/* || true")
    folder, machine = places.splitlines()[0].rsplit("/", 1)
    # A new journald cannot write; one that has its file open would go on.
    up.run(["sh", "-c", f"mount -t tmpfs none {folder} && mkdir {folder}/{machine} && "
            f"mount -o remount,ro {folder}"])  # fmt: skip
    try:
        up.run(["systemctl", "restart", "systemd-journald.service"], check=False)
        found = look(up, 1)
    finally:
        up.run(["umount", "--lazy", folder])
        up.run(["systemctl", "reset-failed", "systemd-journald.service"])
        up.run(["systemctl", "restart", "systemd-journald.service"])
    assert states(found)["journal"] == "fault"
    assert any(line == f"{folder}/{machine} is mounted read-only" for line in found["faults"])
    # journald writes to /run instead, if it has not done so all along.
    arrives = folder.startswith("/var/")
    missed = any("no record of this look has arrived" in line for line in found["faults"])
    assert (missed, found["parts"]["journal"]["record"]) == (not arrives, arrives)
    until(lambda: shown(up, "systemd-journald.service", "SubState") == "running")
    look(up, 0)


def test_records_without_their_fields(up: Systemd) -> None:
    """As without systemd-python, which /dev/log stands in for."""
    settings(up, SERVICES[RESIDENT], "Environment=NULL521_LOG=stderr")
    found = look(up, 0)
    assert (
        "the record of this look has arrived, without fields (log=stderr)"
        in (found["parts"]["journal"]["found"])
    )


# Without systemd.


def test_an_inetd_and_no_systemd(journald: Journald, launcher: Path) -> None:
    inetd = ["systemd-socket-activate", "--accept", "--inetd", "--listen=25", str(launcher),
             "null521", "--refuse-at=rcpt", "--log=syslog"]  # fmt: skip
    found = look_beside(journald, launcher, inetd)
    assert found["parts"]["units"]["found"] == ["systemd does not run here"]
    (listener,) = found["parts"]["port"]["listeners"]
    assert listener["processes"][0]["name"] == "systemd-socket-"
    assert {one["stage"] for one in found["parts"]["answers"]["addresses"]} == {"rcpt"}
    assert found["parts"]["journal"]["record"] is True


def test_a_server_of_its_own_on_another_port(journald: Journald, launcher: Path) -> None:
    """As in a container; the port is found by the process."""
    serve = [str(launcher), "serve", "--listen=127.0.0.1:2525", "--refuse-at=rcpt"]
    found = look_beside(journald, launcher, serve)
    assert found["status"] == 0
    (listener,) = found["parts"]["port"]["listeners"]
    assert (listener["address"], listener["port"]) == ("127.0.0.1", 2525)
    assert found["parts"]["journal"]["record"] is True


def look_beside(journald: Journald, launcher: Path, server: list[str]) -> dict[str, Any]:
    """What is found once that server answers."""
    with journald.popen(server, stderr=subprocess.DEVNULL) as running:
        try:
            done = wait_until_refused(journald, [str(launcher), "check", "--local", "--json"])
        finally:
            running.kill()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_until_refused(host: Journald, words: list[str]) -> "subprocess.CompletedProcess[bytes]":
    deadline = time.monotonic() + TEST_TIMEOUT
    while True:
        done = host.run(words, check=False, capture_output=True)
        if done.returncode == 0 or time.monotonic() > deadline:
            assert done.returncode == 0, done.stdout.decode()
            return done
        time.sleep(0.1)
