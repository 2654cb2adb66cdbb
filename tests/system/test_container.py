"""The container: built, run as the README and units/ have it, by a real podman."""

import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.podman import GENERATOR, Commands, NewerPodman, Podman

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nQUIT\r\n"
REFUSAL = "521 5.3.2 ntp.example is configured NOT to accept any mail.\r\n"
HOSTNAME = "--env=NULL521_HOSTNAME=ntp.example"
# Nothing of what a container may have.
BARE = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--network=none", HOSTNAME)
UNITS = "/srv/null521/units"
ENVIRON = {**os.environ, "NULL521_HOSTNAME": "ntp.example"}


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A host on which the README's command to build the image has been typed."""
    with Podman.up(tmp_path_factory.mktemp("podman") / "host") as host:
        host.build("null521", "/srv/null521")
        yield host


def records(process: "subprocess.Popen[bytes]") -> list[dict[str, Any]]:
    """What the container has written on standard output, when it has ended with status 0."""
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def clients(entries: list[dict[str, Any]]) -> list[str]:
    """The addresses of those who said SAID: a health check comes of itself."""
    return [entry["client"] for entry in entries if entry.get("helo") == "mx.b.c"]


def test_without_any_privilege_and_stopped(podman: Podman) -> None:
    """It answers, has one JSON object a line on standard output, and ends when told to."""
    with podman.container("bare", *BARE, "null521") as process:
        _, received = podman.dial(2525, SAID, within="bare")
        assert REFUSAL in received
        pid = podman.inspect("bare")["State"]["Pid"]
        status = podman.output("cat", f"/proc/{pid}/status").splitlines()
        for line in ("Uid:", "Gid:"):
            assert f"{line}\t65534\t65534\t65534\t65534" in status
        for line in ("CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"):
            assert f"{line}\t0000000000000000" in status
        podman.stop("bare")
        assert clients(records(process)) == ["127.0.0.1"]


def test_published(podman: Podman) -> None:
    options = ["--read-only", "--cap-drop=all", "--publish=25:2525", HOSTNAME]
    with podman.container("published", *options, "null521"):
        _, received = podman.dial(25, SAID)
        assert REFUSAL in received


def test_flags_behind_the_name(podman: Podman) -> None:
    with podman.container("flags", *BARE, "null521", "--refuse-at=mail") as process:
        _, received = podman.dial(2525, SAID, within="flags")
        assert received.count(REFUSAL) == 2
        podman.stop("flags")
        assert [entry.get("refuse_at") for entry in records(process)][-1] == "mail"


def test_starttls(podman: Podman) -> None:
    """It is offered with files that are mounted, if the image's user may read them."""
    make = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ntp.example"
    podman.run(["mkdir", "/run/tls"])
    files = ["-keyout", "/run/tls/tls.key", "-out", "/run/tls/tls.crt"]
    podman.run(["openssl", "req", *make.split(), *files], stderr=subprocess.DEVNULL)
    podman.run(["chown", "65534", "/run/tls/tls.key"])
    paths = ["--env=NULL521_TLS_CERT=/tls/tls.crt", "--env=NULL521_TLS_KEY=/tls/tls.key"]
    with podman.container("tls", *BARE, *paths, "--volume=/run/tls:/tls:ro", "null521"):
        _, received = podman.dial(2525, b"EHLO x\r\nQUIT\r\n", within="tls")
        assert "STARTTLS\r\n" in received


LIST_FILES = """
import os
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = set(folders) - {"proc", "sys", "dev"}
    for path in [os.path.join(folder, name) for name in folders + files]:
        print(os.lstat(path).st_mode, path)
"""


def test_what_is_in_the_image(podman: Podman, capsys: pytest.CaptureFixture[str]) -> None:
    """No program but Python, so no shell; nothing set-uid, nothing that others may write."""
    size = podman.output("podman", "image", "inspect", "--format={{.Size}}", "null521")
    with capsys.disabled():
        print(f" the image has {int(size) / 1e6:.0f} MB ", end="")
    options = ["--rm", "--network=none", "--user=0", "--entrypoint=python3"]
    listed = podman.output("podman", "run", *options, "null521", "-c", LIST_FILES)
    modes = {path: int(mode) for mode, path in (line.split(" ", 1) for line in listed.splitlines())}
    programs = {path for path in modes if path.startswith(("/bin/", "/sbin/", "/usr/bin/"))}
    assert programs == {"/usr/bin/python3", "/usr/bin/python3.13"}
    for path, mode in modes.items():
        assert stat.S_ISLNK(mode) or not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH), path


def test_bytecode_is_in_the_image(podman: Podman) -> None:
    """Of all that is imported; python3 -v says what it had to compile."""
    command = ["-v", "-IS", "/usr/local/bin/null521", "serve", "--metrics=127.0.0.1:9521"]
    options = [*BARE, "--entrypoint=python3"]
    with podman.container("verbose", *options, "null521", *command) as process:
        podman.dial(2525, SAID, within="verbose")
        podman.stop("verbose")
        imports = process.communicate(timeout=20)[1].decode().splitlines()
    assert any("server" in line for line in imports)
    compiled = "# code object from /"
    assert [line for line in imports if line.startswith(compiled) and line.endswith(".py")] == []


def test_health(podman: Podman) -> None:
    check = ["podman", "healthcheck", "run", "healthy"]
    with podman.container("healthy", *BARE, "null521"):
        podman.dial(2525, SAID, within="healthy")
        podman.run(check)
        assert podman.inspect("healthy")["State"]["Health"]["Status"] == "healthy"
    with podman.container("healthy", *BARE, "null521", "--listen=127.0.0.1:2626"):
        podman.dial(2626, SAID, within="healthy")
        assert podman.run(check, check=False, stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_socket_activation(podman: Podman, host: str) -> None:
    """The container has no network but the socket that it was handed, and sees who calls."""
    activate = ("systemd-socket-activate", "--listen=[::]:25")
    with podman.container("activated", *BARE, "null521", before=activate) as process:
        _, received = podman.dial(25, SAID, host)
        assert REFUSAL in received
        podman.stop("activated")
        assert clients(records(process)) == [host]


def confined(container: dict[str, Any]) -> None:
    """Assert that podman holds it in as all of our files ask it to."""
    host = container["HostConfig"]
    assert container["EffectiveCaps"] in ([], None)
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["ReadonlyRootfs"]
    assert host["Memory"] == 128 * 2**20
    assert container["Config"]["User"] == "65534:65534"


@pytest.fixture
def quadlet(podman: Podman) -> Iterator[str]:
    """null521.container where it belongs, for the length of a test."""
    path = "/etc/containers/systemd/null521.container"
    podman.run(["cp", f"{UNITS}/null521.container", path])
    podman.run(["journalctl", "--quiet", "--rotate", "--vacuum-time=1us"])
    yield path
    units = ["null521-container.socket", "null521.service"]
    podman.run(["systemctl", "stop", *units], check=False, stderr=subprocess.DEVNULL)
    # podman before 4.4 leaves the second, and the generator counts on podman taking it away.
    podman.run(["rm", "-f", path, "/run/null521.cid"])
    podman.run(["systemctl", "daemon-reload"])


def in_journal(podman: Podman) -> list[dict[str, Any]]:
    """The records that systemd has taken from the container's standard output."""
    messages = [entry["MESSAGE"] for entry in podman.entries("-t", "null521")]
    return [json.loads(message) for message in messages if message.startswith("{")]


def test_quadlet(podman: Podman, quadlet: str) -> None:
    podman.run(["systemctl", "daemon-reload"])
    verify = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no"]
    assert podman.output(*verify, "/run/systemd/generator/null521.service") == ""
    podman.run(["systemctl", "start", "null521"])
    _, received = podman.dial(25, SAID)
    assert REFUSAL.replace("ntp", "canon") in received
    podman.run(["podman", "healthcheck", "run", "null521"])
    confined(podman.inspect("null521"))
    podman.run(["systemctl", "stop", "null521"])
    state = ["systemctl", "show", "--value", "--property=Result", "null521"]
    assert podman.output(*state).strip() == "success"
    # A client on the host itself comes from the bridge.
    assert clients(in_journal(podman)) == ["10.88.0.1"]


def test_quadlet_with_a_socket(podman: Podman, quadlet: str) -> None:
    """As the head of the socket unit has it."""
    edits = ["s/^PublishPort=.*/Network=none/", "s/^HealthCmd=.*/HealthCmd=none/"]
    podman.run(["sed", "-i", *(f"--expression={edit}" for edit in edits), quadlet])
    podman.run(["cp", f"{UNITS}/null521-container.socket", "/etc/systemd/system"])
    podman.run(["systemctl", "daemon-reload"])
    podman.run(["systemctl", "enable", "--quiet", "--now", "null521-container.socket"])
    for host in ("127.0.0.1", "::1"):
        _, received = podman.dial(25, SAID, host)
        assert REFUSAL.replace("ntp", "canon") in received
    confined(podman.inspect("null521"))
    podman.run(["systemctl", "stop", "null521-container.socket", "null521"])
    assert clients(in_journal(podman)) == ["127.0.0.1", "::1"]


def test_quadlet_that_is_broken(podman: Podman) -> None:
    """The generator that passes ours knows which keys there are."""
    broken = b"[Container]\nImage=localhost/null521:latest\nReadOnley=true\n"
    podman.run(["mkdir", "/run/broken"])
    podman.run(["tee", "/run/broken/x.container"], input=broken, stdout=subprocess.DEVNULL)
    words = ["env", "QUADLET_UNIT_DIRS=/run/broken", GENERATOR, "-dryrun"]
    done = podman.run(words, check=False, capture_output=True)
    assert done.returncode != 0
    assert b"ReadOnley" in done.stderr


def test_compose(podman: Podman) -> None:
    command = ["podman-compose", f"--file={UNITS}/compose.yaml"]
    podman.run([*command, "up", "--detach"], env=ENVIRON, capture_output=True)
    _, received = podman.dial(25, SAID)
    assert REFUSAL in received
    confined(podman.inspect("units_null521_1"))
    podman.run([*command, "down"], env=ENVIRON, capture_output=True)
    assert podman.inspect("units_null521_1") == {}


# The application of the sidecar. As process 1, busybox does not end by SIGTERM.
WEB = """
FROM debian:trixie-slim
USER 65534:65534
STOPSIGNAL SIGKILL
CMD ["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"]
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewerPodman]:
    with NewerPodman(tmp_path_factory.mktemp("newer") / "host") as host:
        assert "podman version 5." in host.output("podman", "--version")
        host.build("null521", "/srv/null521")
        yield host


@pytest.fixture(params=["podman", "newer"])
def player(request: pytest.FixtureRequest) -> Commands:
    """podman of Debian 12 or later, as installed here, and of Debian 13."""
    host = request.getfixturevalue(request.param)
    assert isinstance(host, Commands)
    return host


@contextlib.contextmanager
def played(podman: Commands, manifest: str) -> Iterator[None]:
    """`podman kube play`, which passes over what is not a Pod or a Deployment."""
    podman.run(["podman", "kube", "play", f"{UNITS}/{manifest}"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        podman.run(["podman", "kube", "down", f"{UNITS}/{manifest}"], stdout=subprocess.DEVNULL)


def test_kubernetes_sidecar(player: Commands) -> None:
    """Both containers of the Pod answer, each on its port of the one network."""
    player.build("web", containerfile=WEB)
    with played(player, "kubernetes-sidecar.yaml"):
        _, received = player.dial(2525, SAID, within="web-web")
        assert REFUSAL.replace("ntp", "www") in received
        _, received = player.dial(8080, b"GET /hostname HTTP/1.0\r\n\r\n", within="web-null521")
        assert "200 OK" in received
        confined(player.inspect("web-null521"))
        assert player.inspect("web-web")["EffectiveCaps"] in ([], None)


def test_kubernetes_deployment(player: Commands) -> None:
    """One Pod of it, with the metrics and the answer that its probe asks for."""
    with played(player, "kubernetes.yaml"):
        names = player.output("podman", "ps", "--format={{.Names}}").split()
        (pod,) = (name for name in names if name.endswith("-null521"))
        _, received = player.dial(2525, SAID, within=pod)
        assert REFUSAL.replace("ntp", "mail") in received
        _, received = player.dial(9521, b"GET /ready HTTP/1.0\r\n\r\n", within=pod)
        assert "200 OK" in received
        _, received = player.dial(9521, b"GET /metrics HTTP/1.0\r\n\r\n", within=pod)
        assert 'null521_connections_total{ending="quit"} 1.0\n' in received
        confined(player.inspect(pod))


def test_read_only_without_capabilities(newer: NewerPodman) -> None:
    """The README's command, with the newer podman; it ends when told to."""
    with newer.container("bare", *BARE, "null521") as process:
        _, received = newer.dial(2525, SAID, within="bare")
        assert REFUSAL in received
        newer.stop("bare")
        assert clients(records(process)) == ["127.0.0.1"]
