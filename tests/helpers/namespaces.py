"""Real parts in namespaces of their own: a journald by itself, and a systemd with all it needs.

Both need root, and leave nothing behind when their `with` block ends. run() and popen() start
programs beside them.
"""

import contextlib
import fnmatch
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from helpers.program import TEST_TIMEOUT as TEST_TIMEOUT
from helpers.program import TREE as TREE

CGROUPS = Path("/sys/fs/cgroup")
PYTHON = Path(sys._base_executable)  # type: ignore[attr-defined]


def site() -> Path:
    """The directory in which the Python that runs the tests finds systemd-python."""
    spec = importlib.util.find_spec("systemd")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent.parent


# A new /dev in $dev: the host's harmless devices, and no /dev/log.
DEVICES = r"""
mount -t tmpfs -o mode=755 tmpfs "$dev"
for node in null zero full random urandom tty; do
    touch "$dev/$node"
    mount --bind "/dev/$node" "$dev/$node"
done
mkdir "$dev/shm" "$dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$dev/pts"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
for fd in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${fd%:*}" "$dev/${fd#*:}"; done
"""

# The folders of an overlay in the current one, which is in memory.
OVERLAY_FOLDERS = r"""
mount --make-rprivate /
ip link set lo up
mount -t tmpfs tmpfs .
cd "$PWD"  # into it
mkdir upper work root
"""

# The files of a null521 installed on the host, relative to the root. The tests must not depend on
# them, so each root below hides them.
HOST_FILES = r"""
    etc/null521 etc/*/null521* run/null521 {usr,usr/local}/{bin,sbin}/null521
    {usr,usr/local}/lib/{null521,*/null521*,*/*/*null521*}
    {usr,usr/local}/share/{doc/null521,man/man*/null521*}
    var/lib/dpkg/info/null521.* var/lib/systemd/deb-systemd-helper-*/{null521*,*/null521*}
    {run,var}/log/journal
"""

# In a copy of the root: remove them, and what dpkg and journalctl know of them.
FORGET = rf"""
shopt -s nullglob
rm -rf {" ".join(HOST_FILES.split())} var/lib/systemd/catalog/database
if grep -qx 'Package: null521' var/lib/dpkg/status 2>/dev/null; then
    perl -00 -ni -e 'print unless /^Package: null521$/m' var/lib/dpkg/status
    sed -i '/ null521\b/d' var/lib/dpkg/triggers/*
fi
"""

# In the host's own root: cover each folder and each file with an empty one.
COVER = rf"""
shopt -s nullglob
for path in {" ".join(HOST_FILES.split())}; do
    if [ -d "/$path" ]; then mount -t tmpfs -o mode=755 tmpfs "/$path"
    elif [ -f "/$path" ]; then mount --bind /dev/null "/$path"; fi
done
"""


class Namespaces:
    """A program that runs in namespaces of its own for the length of a `with` block."""

    namespaces: tuple[str, ...] = ("--mount", "--net", "--pid")
    inside = ""  # bash code that runs there, in the folder, and ends in exec

    def __init__(self, folder: Path) -> None:
        """folder: a new directory for mount points and files; nothing needs it afterwards."""
        self._folder = folder

    def answers(self) -> bool:
        """Whether it is up."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        unshare = ["unshare", *self.namespaces, "--fork", "--kill-child"]
        self._outer = subprocess.Popen(
            [*self.before(), *unshare, "bash", "-euc", self.inside],
            cwd=self._folder,
            env={**os.environ, "tree": str(TREE), "python": sys.base_prefix},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + TEST_TIMEOUT
        while not self.answers():
            if self._outer.poll() is not None or time.monotonic() > deadline:
                self._outer.kill()
                error = self._outer.communicate()[1].decode()
                self.after()
                raise RuntimeError(f"{type(self).__name__} does not start: {error}")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._outer.kill()  # --kill-child kills the first process, and the kernel all others
        self._outer.communicate()
        self.after()

    def before(self) -> list[str]:
        """The command to start it through."""
        return []

    def after(self) -> None:
        """Remove what would outlast the processes."""

    @property
    def pid(self) -> int:
        """The id, outside, of the first process; ValueError or OSError before it exists."""
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text()
        return int(children)

    def command(self, words: list[str]) -> list[str]:
        """The command that runs the words in the namespaces, from their root directory."""
        return ["nsenter", f"--target={self.pid}", *self.namespaces, *words]

    def run(self, words: list[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
        """subprocess.run() in the namespaces, with check=True by default."""
        return subprocess.run(self.command(words), **{"check": True, **options})

    def popen(self, words: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """subprocess.Popen() in the namespaces."""
        return subprocess.Popen(self.command(words), **options)

    def output(self, *words: str) -> str:
        """The standard output of a command."""
        return self.run(list(words), stdout=subprocess.PIPE).stdout.decode()

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """The journal's entries, oldest first, after journald has written all that it received."""
        self.output("journalctl", "--sync")
        lines = self.output("journalctl", "--output=json", "--all", "--quiet", *matches)
        return [json.loads(line) for line in lines.splitlines()]

    def wait_for(self, count: int, *matches: str) -> list[dict[str, Any]]:
        """The entries, once there are that many; AssertionError if that takes too long."""
        deadline = time.monotonic() + TEST_TIMEOUT
        while len(found := self.entries(*matches)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) == count, found
        return found


def concerns(entry: dict[str, Any], unit: str) -> bool:
    """Whether the entry is by a unit of this name, where "*" stands for anything, or about it."""
    names = (entry.get(key, "") for key in ("_SYSTEMD_UNIT", "UNIT"))
    return any(fnmatch.fnmatchcase(name, unit) for name in names)


class Journald(Namespaces):
    """journald, on the host's files but with a /run, /dev and /etc/machine-id of its own.

    Its journal is empty: the host's entries are not visible.
    """

    inside = rf"""
        ip link set lo up
        mount -t proc proc /proc
        (cd / && {COVER})
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/log/journal /run/systemd/journal
        echo 00000000000000000000000000000521 >/run/machine-id
        [ -e /etc/machine-id ] && mount --bind /run/machine-id /etc/machine-id
        mkdir dev
        dev=dev
        {DEVICES}
        mount --move dev /dev
        ln -s /run/systemd/journal/dev-log /dev/log
        # Whatever else runs on the machine must not keep it from reading.
        exec nice -n -15 /lib/systemd/systemd-journald
    """

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            # Not the host's, which is there until /run is covered; and all sockets that it makes.
            test = "test -e /run/machine-id && exec journalctl --sync"
            words = self.command(["sh", "-c", test])
            return subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode == 0
        return False


class BootedJournald(Journald):
    """With the length of queue that systemd sets at boot, so that a burst of records fits."""

    inside = "echo 512 >/proc/sys/net/unix/max_dgram_qlen\n" + Journald.inside


class Counted(Namespaces):
    """In a cgroup of its own, which adds up the CPU time of all its processes, ended ones too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cgroup = f"null521-{os.getpid()}-{id(self):x}"

    def before(self) -> list[str]:
        """A shell in a new cgroup of each hierarchy, or of the only one in version 2."""
        groups = [hierarchy / self._cgroup for hierarchy in self._hierarchies()]
        for group in groups:
            group.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 does not inherit them
                if (group / name).exists() and (group / "tasks").exists():
                    (group / name).write_text((group.parent / name).read_text())
                    (group / "cgroup.clone_children").write_text("1")
        return self.join_command()

    def join_command(self) -> list[str]:
        """The command to start another program through, so that it is counted too."""
        groups = [hierarchy / self._cgroup for hierarchy in self._hierarchies()]
        join = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'
        return ["bash", "-euc", join, "bash", *map(str, groups), "--"]

    def after(self) -> None:
        deadline = time.monotonic() + TEST_TIMEOUT
        for hierarchy in self._hierarchies():
            # rmdir(2) fails until the last process has ended.
            while (group := hierarchy / self._cgroup).exists() and time.monotonic() < deadline:
                for folder, _, _ in os.walk(group, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)

    def cpu_seconds(self) -> float:
        """The CPU time that all its processes have used so far."""
        usage = CGROUPS / "cpuacct" / self._cgroup / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        words = (CGROUPS / self._cgroup / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    def _hierarchies(self) -> list[Path]:
        if (CGROUPS / "cgroup.controllers").exists():
            for controller in (CGROUPS / "cgroup.controllers").read_text().split():
                # Fails unless this is the root cgroup; limits then have no effect.
                with contextlib.suppress(OSError):
                    (CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
            return [CGROUPS]
        return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


class Systemd(Counted):
    """systemd as process 1, on a temporary copy of the host's files.

    It starts none of the host's services. Inside, /srv/null521 is the tree, and /srv/python the
    prefix of the Python that runs the tests. Cgroups and journald are real, and so are limits,
    unless enforces_limits says otherwise.
    """

    namespaces = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")
    inside = rf"""
        {OVERLAY_FOLDERS}
        mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
        (cd root && {FORGET})
        mkdir -p root/srv/null521 root/srv/python root/old
        mount --bind -o ro "$tree" root/srv/null521
        mount --bind -o ro "$python" root/srv/python
        mount -t proc proc root/proc
        mount --bind -o ro root/proc/sys root/proc/sys
        mount -t sysfs -o ro sysfs root/sys
        mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs root/run
        mount -t tmpfs -o mode=1777 tmpfs root/tmp
        dev=root/dev
        {DEVICES}
        version=$(/lib/systemd/systemd --version | sed 's/systemd \([0-9]*\).*/\1/; q')
        # systemd 256 and later refuse version 1. Controllers that the host has given to that are
        # then missing: see enforces_limits below.
        if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || [ "$version" -ge 256 ]; then
            mount -t cgroup2 cgroup2 root/sys/fs/cgroup
        else
            mount -t tmpfs -o mode=755 tmpfs root/sys/fs/cgroup
            for hierarchy in /sys/fs/cgroup/*; do
                name=${{hierarchy##*/}}
                if [ -L "$hierarchy" ]; then cp -P "$hierarchy" root/sys/fs/cgroup; continue; fi
                mkdir "root/sys/fs/cgroup/$name"
                case $name in
                    unified) kind=cgroup2 options=nsdelegate ;;
                    systemd) kind=cgroup options=none,name=systemd ;;
                    *) kind=cgroup options=$name ;;
                esac
                mount -t $kind -o $options cgroup "root/sys/fs/cgroup/$name"
            done
        fi

        # Disable the host's units, and those that would change its hardware or kernel.
        rm -rf root/etc/systemd/system root/etc/machine-id
        mkdir root/etc/systemd/system
        for unit in systemd-modules-load.service systemd-sysctl.service systemd-udevd.service \
            systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
            systemd-remount-fs.service systemd-journald-audit.socket sys-kernel-debug.mount \
            sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
            dev-mqueue.mount
        do
            ln -s /dev/null "root/etc/systemd/system/$unit"
        done
        : >root/etc/fstab
        echo 00000000000000000000000000000521 >root/etc/machine-id
        echo canon.example >root/etc/hostname
        hostname canon.example

        cd root
        pivot_root . old
        umount -l /old
        mount --make-rshared /  # as on a host, where systemd does it: credentials depend on it
        exec env -i container=null521-tests PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
            /lib/systemd/systemd --unit=basic.target --show-status=no --log-target=journal
    """

    # The path of that Python inside, and a client that sends its standard input.
    python = f"/srv/python/bin/{PYTHON.name}"
    client = (python, "/srv/null521/tests/helpers/program.py")

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            # Not the host's: only the root of the tests has /old.
            words = self.command(["sh", "-c", "test -d /old && exec systemctl is-system-running"])
            done = subprocess.run(words, check=False, capture_output=True)
            return done.stdout.strip() in (b"running", b"degraded")
        return False

    @property
    def enforces_limits(self) -> bool:
        """Whether its systemd has the controllers for MemoryMax= and TasksMax=.

        Not if it refuses the version of cgroups to which the host has given them: see above.
        """
        files = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.controllers"]
        found = self.run(["cat", *files], check=False, capture_output=True)
        return b"Is a directory" in found.stderr or b"memory" in found.stdout

    def entries_of(self, unit: str, *matches: str) -> list[dict[str, Any]]:
        """The entries by the units of this name, in which "*" stands for anything, or about them.

        journalctl -u fails if no unit in the journal is of that name.
        """
        return [entry for entry in self.entries(*matches) if concerns(entry, unit)]

    def warnings(self, unit: str) -> list[str]:
        """What the unit or systemd has warned of, but for limits that cannot be enforced here.

        Also what null521 says if its unit is not known: journald looks a sender's unit up in /proc,
        where a process this short may be gone by then.
        """
        found = [
            entry["MESSAGE"]
            for entry in self.entries("-p", "warning")
            if concerns(entry, unit)
            or ("_SYSTEMD_UNIT" not in entry and entry.get("SYSLOG_IDENTIFIER") == "null521")
        ]
        if not self.enforces_limits:  # systemd 258 and later miss the controller
            found = [line for line in found if "Failed to read pids.max" not in line]
        return found

    def memory(self, unit: str) -> int:
        """Octets that the unit's processes use now, as the kernel counts them for MemoryMax=.

        Where that is not enforced: what they have in RAM, less what they share with others.
        """
        if self.enforces_limits:
            words = ["systemctl", "show", "--value", "--property=MemoryCurrent", unit]
            return int(self.output(*words))
        group = self.output("systemctl", "show", "--value", "--property=ControlGroup", unit).strip()
        script = "cat $(sed 's|.*|/proc/&/smaps_rollup|' \"/sys/fs/cgroup$1/cgroup.procs\")"
        rollups = self.output("sh", "-c", script, "sh", group)
        private = re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB$", rollups, re.M)
        assert private, rollups
        return sum(map(int, private)) * 1024

    def make(self, target: str) -> None:
        """Run make with this target inside, for the Python that runs the tests."""
        words = ["make", "-s", "-C", "/srv/null521", target]
        if sys.base_prefix != "/usr":
            words += [f"PYTHON={self.python}", f"SITEDIR=/srv/null521/{site().relative_to(TREE)}"]
            # Otherwise the loader would look for its libpython at the old path: ld.so(8).
            conf = "echo /srv/python/lib >/etc/ld.so.conf.d/00-python.conf && ldconfig"
            self.run(["sh", "-c", conf])
        self.run(words)
