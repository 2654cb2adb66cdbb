"""A host on which null521 is installed: what its administrator sets, and what its clients meet."""

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from helpers.namespaces import TREE, Systemd

# What a client says, all of it in one segment, and the codes of the answer where refuse-at is rcpt.
SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nDATA\r\nQUIT\r\n"
CODES = [220, 250, 250, 250, 250, 250, 250, 250, 521, 521, 221]

# The clients of crowd.py, by the place of that file inside.
CROWD = "/srv/null521/tests/helpers/crowd.py"

# As many at once, each of which reads to the end; prints how many had a whole answer.
FLOOD = """
import resource, selectors, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
count = int(sys.argv[1])
waiting = selectors.DefaultSelector()
for number in range(count):
    client = socket.socket()
    client.setblocking(False)
    client.bind(("127.0.%d.1" % (number % 100), 0))
    client.connect_ex(("127.0.0.1", 25))
    waiting.register(client, selectors.EVENT_WRITE, bytearray())
whole = 0
while waiting.get_map():
    for key, event in waiting.select(60):
        client, answer = key.fileobj, key.data
        try:
            if event == selectors.EVENT_WRITE:
                client.send(b"QUIT\\r\\n")
                waiting.modify(client, selectors.EVENT_READ, answer)
                continue
            octets = client.recv(4096)
        except OSError:
            octets = b""
        answer += octets
        if not octets:
            whole += bool(answer.startswith(b"220 ") and answer.endswith(b"\\r\\n"))
            waiting.unregister(client)
            client.close()
print(whole)
"""


def dial(systemd: Systemd, host: str = "127.0.0.1", said: bytes = SAID) -> tuple[int, list[int]]:
    """A client's own port, and the codes that it was answered with."""
    words = [*systemd.client, host, "25"]
    port, received = json.loads(systemd.run(words, input=said, stdout=subprocess.PIPE).stdout)
    assert received.endswith("\r\n")
    return port, [int(line[:3]) for line in received.splitlines()]


def flood(systemd: Systemd, count: int) -> int:
    """How many of so many clients at once, from a hundred networks, had a whole answer."""
    return int(systemd.output(systemd.python, "-c", FLOOD, str(count)))


def settings(systemd: Systemd, unit: str, *lines: str) -> None:
    """A drop-in as the README has it; lines of another section than Service begin with its name."""
    folder = f"/etc/systemd/system/{unit}.d"
    systemd.run(["mkdir", "-p", folder])
    section = [] if lines[0].startswith("[") else ["[Service]"]
    text = "\n".join([*section, *lines, ""])
    drop_in = [f"{folder}/settings.conf"]
    systemd.run(["tee", *drop_in], input=text.encode(), stdout=subprocess.DEVNULL)
    systemd.run(["systemctl", "daemon-reload"])


def unset(systemd: Systemd, unit: str) -> None:
    """Take away what settings() has set."""
    systemd.run(["rm", "-rf", f"/etc/systemd/system/{unit}.d"])
    systemd.run(["systemctl", "daemon-reload"])


def explained(systemd: Systemd, message_id: str) -> list[str]:
    """What journalctl -x says below the last record with that id, which is what the catalog has."""
    words = ["journalctl", "--catalog", "--quiet", "--lines=1", f"MESSAGE_ID={message_id}"]
    below = re.findall(r"(?m)^(?:--|░░) (.+)$", systemd.output(*words))
    entries = re.split(r"(?m)^-- ([0-9a-f]{32})\n", (TREE / "units/null521.catalog").read_text())
    entry = dict(zip(entries[1::2], entries[2::2], strict=True))[message_id]
    wanted = [line for line in entry.splitlines() if line]
    assert wanted[0].startswith("Subject: ")
    assert len(wanted) > 3
    assert [line for line in below if line in wanted] == wanted
    return below


def active(systemd: Systemd, unit: str = "null521.socket") -> str:
    """The unit's ActiveState."""
    return shown(systemd, unit, "ActiveState")


def shown(systemd: Systemd, unit: str, name: str) -> str:
    """A property of the unit, as systemctl show has it."""
    return systemd.output("systemctl", "show", "--value", f"--property={name}", unit).strip()


# Units by what they are called here: socket, service, and what hostile.py is told.
PAIRS = {
    "handler": ("null521.socket", "null521@.service", ""),
    "resident": ("null521-serve.socket", "null521-serve.service", " serve /usr/local/lib/null521"),
}

# Listens elsewhere on the host until standard input ends; prints how many connections came.
ELSEWHERE = """
import select, socket, sys
listener = socket.create_server(("127.0.0.1", 9999))
print("listening", flush=True)
count = 0
while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
    listener.accept()
    count += 1
while select.select([listener], [], [], 0.5)[0]:
    listener.accept()
    count += 1
print(count)
"""


def taken_over(systemd: Systemd, pair: str) -> tuple[int, list[dict[str, str]]]:
    """Run hostile.py in the place of null521, in one of PAIRS whose socket is not active.

    Return how many connections it made to another port of the host, and all that it tried.
    """
    sockets, unit, words = PAIRS[pair]
    interpreter = systemd.output("head", "--lines=1", "/usr/local/bin/null521").split()[0][2:]
    program = "/usr/local/lib/hostile.py"
    systemd.run(["cp", "/srv/null521/tests/helpers/hostile.py", program])
    start = f"ExecStart={interpreter} -I {program}{words}"
    systemd.run(["journalctl", "--quiet", "--rotate", "--vacuum-time=1us"])
    # What it prints is of priority info.
    more = ["LogLevelMax=debug", *(["Type=exec"] if words else [])]
    settings(systemd, unit, "ExecStart=", start, *more)
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    try:
        systemd.run(["systemctl", "start", sockets])
        with systemd.popen([systemd.python, "-Ic", ELSEWHERE], **ends) as elsewhere:
            assert elsewhere.stdout
            assert elsewhere.stdout.readline() == b"listening\n"
            client = [*systemd.client, "127.0.0.1", "25"]
            systemd.run(client, input=b"", check=False, capture_output=True)
            systemd.wait_for(1, 'MESSAGE={"group": "end"}')
            connections = int(elsewhere.communicate()[0])
    finally:
        systemd.run(["systemctl", "stop", sockets])
        unset(systemd, unit)
    lines = [json.loads(e["MESSAGE"]) for e in systemd.entries("_TRANSPORT=stdout", "PRIORITY=6")]
    return connections, lines[:-1]


@contextlib.contextmanager
def beside(systemd: Systemd, *crowd: str) -> Iterator[dict[str, Any]]:
    """A crowd of crowd.py, for as long as the block; yields what came of it, complete at the end.

    in_place: how many of the crowd are where they wanted to be. The rest is what crowd.py tells of
    an honest client all through.
    """
    found: dict[str, Any] = {}
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        systemd.popen([systemd.python, CROWD, "honest"], **ends) as honest,
        systemd.popen([systemd.python, CROWD, *crowd], **ends) as others,
    ):
        assert others.stdout
        found["in_place"] = int(others.stdout.readline())
        yield found
        found |= json.loads(honest.communicate(b"")[0])
        others.communicate(b"")
