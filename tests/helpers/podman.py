"""podman of two releases, without a registry, with networks that lead nowhere.

Podman is the host's own, under a systemd of its own; NewerPodman is that of Debian 13, by itself.

It needs root, and what `scripts/prepare containers` makes. Images, containers and networks
disappear when the `with` block ends. This module must not know what is in the containers.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.namespaces import DEVICES, OVERLAY_FOLDERS, TEST_TIMEOUT, Counted, Namespaces, Systemd

# The images of scripts/prepare are read-only here; new ones are in memory. podman sets sysctls of
# its network namespace, but all of /proc/sys is read-only, so INSIDE mounts that part again.
STORAGE = """\
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = ["/srv/null521/build/containers/images"]
"""
# Without systemd; and the limits of a machine may be lower than podman's defaults.
LIMITS = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:2048"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
GENERATOR = "/etc/systemd/system-generators/podman-system-generator"
INSIDE = f"""
mkdir -p /var/lib/containers /etc/containers/systemd /etc/systemd/system-generators /run/proc
mount -t tmpfs tmpfs /var/lib/containers
cat >/etc/containers/storage.conf
mount -t proc proc /run/proc
mount --bind /run/proc/sys/net /proc/sys/net
ln -s /srv/null521/build/containers/podman-13/upper/usr/libexec/podman/quadlet {GENERATOR}
"""


class Commands(Namespaces):
    """What tests do with podman, wherever it runs."""

    client: tuple[str, str]  # a client that sends its standard input

    def build(self, name: str, *words: str, containerfile: str = "") -> None:
        """Build an image of that name, without network."""
        offline = ["--quiet", "--network=none", "--pull=never", "--format=docker"]
        words = words or ("-",)
        command = ["podman", "build", *offline, f"--tag={name}", *words]
        self.run(command, input=containerfile.encode(), stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def container(
        self, name: str, *words: str, before: tuple[str, ...] = ()
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """`podman run` in the foreground, as the command `before` runs it, until the block ends."""
        command = [*before, "podman", "run", "--rm", f"--name={name}", *words]
        with self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                stop = ["podman", "rm", "--force", "--ignore", "--time=0", name]
                self.run(stop, stdout=subprocess.DEVNULL)
                process.kill()

    def stop(self, name: str) -> None:
        """Send SIGTERM, and much later SIGKILL; after that, the exit status is not 0."""
        self.run(["podman", "stop", "--time=20", name], stdout=subprocess.DEVNULL)

    def inspect(self, name: str) -> dict[str, Any]:
        """podman's description of a container; {} if there is none of that name."""
        words = self.command(["podman", "container", "inspect", name])
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found[0] if found else {}

    def within(self, name: str) -> list[str]:
        """The words before a command that run it in the network of a container."""
        return ["nsenter", "--net", f"--target={self.inspect(name)['State']['Pid']}"]

    def dial(
        self, port: int, octets: bytes, host: str = "127.0.0.1", within: str = ""
    ) -> tuple[int, str]:
        """A client's own port, and the answer that it received; wait until the port is open.

        within: the container in whose network the client runs, if any.
        """
        deadline = time.monotonic() + TEST_TIMEOUT
        while True:
            with contextlib.suppress(KeyError):
                before = self.within(within) if within else []
                words = [*before, *self.client, host, str(port)]
                done = self.run(words, input=octets, capture_output=True, check=False)
                if done.returncode == 0:
                    own_port, received = json.loads(done.stdout)
                    return own_port, received
            assert time.monotonic() < deadline, f"nothing answers on {host}:{port}"
            time.sleep(0.05)


class Podman(Commands, Systemd):
    """A host with podman; its only image is the one that our Containerfile starts from."""

    @classmethod
    @contextlib.contextmanager
    def up(cls, folder: Path) -> Iterator["Podman"]:
        """Start the host, and stop it when the block ends."""
        with cls(folder) as host:
            host.run(["bash", "-euc", INSIDE], input=STORAGE.encode())
            yield host


class NewerPodman(Commands, Counted):
    """A root of Debian 13 with podman and no systemd; its only image is the same.

    Of cgroups v1, it sees what Debian 13's crun still knows: all hierarchies but the unified one.
    """

    namespaces = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")
    client = ("/usr/bin/python3", "/srv/null521/tests/helpers/program.py")
    inside = rf"""
        {OVERLAY_FOLDERS}
        lower=$tree/build/containers/podman-13/upper:$tree/build/senders/debian-13
        mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root
        mkdir -p root/srv/null521 root/old root/var/lib/containers
        mount --bind -o ro "$tree" root/srv/null521
        mount -t proc proc root/proc
        mount -t sysfs sysfs root/sys
        mount -t tmpfs -o mode=755 tmpfs root/run
        mount -t tmpfs -o mode=1777 tmpfs root/tmp
        mount -t tmpfs tmpfs root/var/lib/containers
        dev=root/dev
        {DEVICES}
        if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
            mount -t cgroup2 cgroup2 root/sys/fs/cgroup
        else
            mount -t tmpfs -o mode=755 tmpfs root/sys/fs/cgroup
            for hierarchy in /sys/fs/cgroup/*; do
                name=${{hierarchy##*/}} options=$name
                case $name in unified) continue ;; systemd) options=none,name=systemd ;; esac
                if [ -L "$hierarchy" ]; then cp -P "$hierarchy" root/sys/fs/cgroup; continue; fi
                mkdir "root/sys/fs/cgroup/$name"
                mount -t cgroup -o "$options" cgroup "root/sys/fs/cgroup/$name"
            done
        fi
        cat >root/etc/containers/storage.conf <<'END'
{STORAGE}
END
        cat >root/etc/containers/containers.conf <<'END'
{LIMITS}
END
        cd root
        pivot_root . old
        umount -l /old
        : >/run/ready
        exec sleep infinity
    """

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            done = subprocess.run(self.command(["test", "-e", "/run/ready"]), check=False)
            return done.returncode == 0
        return False

    def command(self, words: list[str]) -> list[str]:
        # It warns of cgroups v1, which it is the last version to know.
        return super().command(["env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", "HOME=/root", *words])
