"""A host on which null521 is installed: what its administrator sets, and what its clients meet."""

import json
import re
import subprocess

from helpers.namespaces import TREE, Systemd

# What a client says, all of it in one segment, and the codes of the answer where refuse-at is rcpt.
SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nDATA\r\nQUIT\r\n"
CODES = [220, 250, 250, 250, 250, 250, 250, 250, 521, 521, 221]

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
    client.bind(("127.0.0.%d" % (1 + number % 100), 0))
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
    """How many of so many clients at once, from a hundred addresses, had a whole answer."""
    return int(systemd.output(systemd.python, "-c", FLOOD, str(count)))


def settings(systemd: Systemd, unit: str, *lines: str) -> None:
    """A drop-in as the README has it."""
    folder = f"/etc/systemd/system/{unit}.d"
    systemd.run(["mkdir", "-p", folder])
    text = "\n".join(["[Service]", *lines, ""])
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
