"""The cost of one connection: CPU and wall time of whole processes, side by side.

    python3 tests/system/bench/cost.py [RUNS [PYTHON]]

As root; 60 runs by default, with /usr/bin/python3. Each row is run once in each round, so that
other load on the machine affects all rows alike. Every run answers a client that sends QUIT over a
socket pair, and first EHLO or STARTTLS where the row says so; records go to a real journald in a
namespace of its own. Nothing here passes or fails: the targets are printed beside the figures.
"""

import os
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.namespaces import Journald

TREE = Path(__file__).parents[3]
FLOOR = "python3 -I -S -c pass"
STARTTLS = "STARTTLS"
TARGETS = {"launcher, no record": 1.15, "launcher, journald": 1.3}


def main(runs: int = 60, python: str = "/usr/bin/python3") -> None:
    """Install the program in both ways, then measure next to a journald."""
    with tempfile.TemporaryDirectory() as folder:
        prefix, venv = Path(folder, "prefix"), Path(folder, "venv")
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        for command in (
            [
                "make",
                "-s",
                "-C",
                TREE,
                "install",
                f"PREFIX={prefix}",
                f"SYSCONFDIR={prefix}/etc",
                f"PYTHON={python}",
            ],
            [python, "-m", "venv", "--system-site-packages", venv],
            [venv / "bin/pip", "install", "--quiet", TREE],
        ):
            subprocess.run([str(word) for word in command], check=True, env=environ)
        programs = [python, str(prefix / "bin/null521"), str(venv / "bin/null521")]
        with Journald(Path(folder, "journald")) as journald:
            journald.run([sys.executable, __file__, "--inside", str(runs), *programs])
            records = len(journald.entries("-t", "null521"))
        print(f"\nRecords in the journal: {records}, of {4 * (runs + 1) + 1} sent.")


def measure(runs: int, python: str, launcher: str, script: str) -> None:
    """Run all rows in turn, and print the table and the time of each import."""
    rows = {
        FLOOR: [python, "-I", "-S", "-c", "pass"],
        "import posix; posix._exit(0)": [python, "-I", "-S", "-c", "import posix; posix._exit(0)"],
    }
    for name, program in (("launcher", launcher), ("pip's script", script)):
        for record, log in (("no record", "none"), ("stderr", "stderr"), ("journald", "journal")):
            for stage in ("greeting", "rcpt"):
                flags = [f"--log={log}", f"--refuse-at={stage}"]
                rows[f"{name}, {record}, {stage}"] = [program, *flags]
    tls = Path(launcher).parent.parent / "etc/null521"
    flags = ["--log=none", "--refuse-at=rcpt"]
    flags += [f"--tls-cert={tls}/tls-cert.pem", f"--tls-key={tls}/tls-key.pem"]
    for name in ("EHLO, with a certificate", STARTTLS):
        rows[f"launcher, no record, rcpt, {name}"] = [launcher, *flags]
    rows["launcher, no record, rcpt, EHLO"] = [launcher, "--log=none", "--refuse-at=rcpt"]
    times: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
    for row, command in rows.items():
        once(row, command)  # a first run, not counted
    for _ in range(runs):
        for row, command in rows.items():
            times[row].append(once(row, command))

    print(f"{platform.python_implementation()} {version(python)}, {os.uname().release};", end=" ")
    print(f"medians of {runs} runs each, in turn\n")
    print("| one connection | CPU ms | ratio | wall ms | ratio | target |")
    print("|---|---|---|---|---|---|")
    floor = [statistics.median(column) for column in zip(*times[FLOOR], strict=True)]
    for row, pairs in times.items():
        cpu, wall = (statistics.median(column) for column in zip(*pairs, strict=True))
        target = TARGETS.get(row.rpartition(", ")[0], "")
        ratios = f"{cpu:.1f} | {cpu / floor[0]:.2f} | {wall:.1f} | {wall / floor[1]:.2f}"
        print(f"| {row} | {ratios} | {target} |")

    print("\nWhat the launcher imports, with a journald record (-X importtime, one run):\n")
    print("| module | us |")
    print("|---|---|")
    command = [python, "-I", "-S", "-X", "importtime", launcher, "--log=journal"]
    done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, check=True)
    # All imports before io belong to the interpreter's start, which the floor includes too.
    _, _, ours = done.stderr.decode().partition("| io\n")
    for line in ours.splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        print(f"| {module.strip()} | {int(own)} |")


def once(row: str, command: list[str]) -> tuple[float, float]:
    """CPU and wall milliseconds of one run that answers QUIT, by wait4(2)."""
    client, connection = socket.socketpair()
    with open(os.devnull, "wb") as null:
        ends = ((connection, 0), (connection, 1), (null, 2))
        actions = [(os.POSIX_SPAWN_DUP2, end.fileno(), fd) for end, fd in ends]
        if STARTTLS not in row:
            client.sendall(b"EHLO x\r\nQUIT\r\n" if "EHLO" in row else b"QUIT\r\n")
            client.shutdown(socket.SHUT_WR)
        start = time.perf_counter()
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        connection.close()
        if STARTTLS in row:
            client = ask_for_tls(client)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - start
        client.close()
    if status:
        raise SystemExit(f"{command} ended with status {os.waitstatus_to_exitcode(status)}")
    return (usage.ru_utime + usage.ru_stime) * 1e3, wall * 1e3


def ask_for_tls(client: socket.socket) -> ssl.SSLSocket:
    """Start TLS as a client does, and send QUIT over it."""
    client.sendall(b"EHLO x\r\nSTARTTLS\r\n")
    received = b""
    while b"go ahead with TLS\r\n" not in received:
        received += client.recv(4096)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secured = context.wrap_socket(client)
    secured.sendall(b"QUIT\r\n")
    while secured.recv(4096):
        pass
    secured.shutdown(socket.SHUT_RDWR)
    return secured


def version(python: str) -> str:
    """The version of that interpreter."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        measure(int(sys.argv[2]), *sys.argv[3:])
    else:
        main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
