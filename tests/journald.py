"""A real journald by itself, in mount, pid and network namespaces of its own.

For tests that need its records but no systemd. Processes are started in the namespaces with run()
and popen(); they see the host's files, but a /run, /dev/log and /etc/machine-id of their own.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 20.0

# /run is empty but for what journald needs; /dev/log leads there as it does on a real host.
INSIDE = r"""
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/log/journal /run/systemd/journal
echo 00000000000000000000000000000521 >/run/machine-id
[ -e /etc/machine-id ] && mount --bind /run/machine-id /etc/machine-id
mount -t tmpfs -o mode=755 tmpfs "$DEV"
for node in null zero full random urandom tty ptmx pts shm fd stdin stdout stderr; do
    [ -L "/dev/$node" ] && cp -P "/dev/$node" "$DEV" && continue
    [ -d "/dev/$node" ] && mkdir "$DEV/$node" || touch "$DEV/$node"
    mount --rbind "/dev/$node" "$DEV/$node"
done
mount --move "$DEV" /dev
ln -s /run/systemd/journal/dev-log /dev/log
exec /lib/systemd/systemd-journald
"""


class Journald:
    """`with Journald(folder) as journald:`; the folder is made, and may be thrown away after."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> "Journald":
        (self._folder / "dev").mkdir(parents=True)
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._outer = subprocess.Popen(
            [*namespaces, "--mount-proc", "bash", "-euc", INSIDE],
            env={**os.environ, "DEV": str(self._folder / "dev")},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._outer.poll() is not None or time.monotonic() > deadline:
                self._outer.kill()
                raise RuntimeError(f"no journald: {self._outer.communicate()[1].decode()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._outer.kill()  # --kill-child takes the rest with it
        self._outer.wait()
        if self._outer.stderr:
            self._outer.stderr.close()

    @property
    def pid(self) -> int:
        """journald's process id as seen from outside."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text()
        return int(children)

    def command(self, words: list[str]) -> list[str]:
        """The command that runs the words in the namespaces, in this working directory."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--wd=.", *words]

    def run(self, words: list[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
        """subprocess.run() in the namespaces, with check=True unless it says otherwise."""
        return subprocess.run(self.command(words), **{"check": True, **options})

    def popen(self, words: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """subprocess.Popen() in the namespaces."""
        return subprocess.Popen(self.command(words), **options)

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """What the journal holds, oldest first, after all that was sent has been written down."""
        self.run(["journalctl", "--sync"])
        command = ["journalctl", "--output=json", "--all", "--quiet", *matches]
        lines = self.run(command, stdout=subprocess.PIPE).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def wait_for(self, count: int, *matches: str) -> list[dict[str, Any]]:
        """The entries, once there are that many; AssertionError if there are not in time."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.entries(*matches)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) == count, found
        return found

    def _answers(self) -> bool:
        try:
            where = f"--target={self.pid}"
        except (OSError, ValueError):
            return False
        test = ["nsenter", where, "--mount", "test", "-S", "/run/systemd/journal/socket"]
        return subprocess.run(test, check=False, stderr=subprocess.DEVNULL).returncode == 0
