"""What a program that an attacker has taken over could try: a JSON line for each attempt.

Run in the place of null521 by the interpreter that its launcher names, with all of the unit's
sandbox around it: as the handler, with its client on descriptor 0; or, with the word "serve" and
the place of null521's modules, as the resident server, with the listening socket on descriptor 3.
In the lines, "refused" is the error that the kernel answered with; "" means that the attempt
succeeded. They go to standard error, which both units connect to the journal, because the last
attempts are made with the client's own socket.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

ELSEWHERE = ("127.0.0.1", 9999)  # where the test listens, in the host's network
MSG_FASTOPEN = 0x20000000
UNSPEC = socket.AF_UNSPEC.to_bytes(2, sys.byteorder) + bytes(14)
# struct sockaddr_in6 of that place, mapped to IPv6 as the units' sockets need it.
MAPPED = ("::ffff:" + ELSEWHERE[0], ELSEWHERE[1])

libc = ctypes.CDLL(None, use_errno=True)

# Calls that Python has no name for, by their numbers; arguments that would do the least harm.
NUMBERS = {
    "x86_64": {
        "ptrace": 101,
        "process_vm_readv": 310,
        "unshare": 272,
        "setns": 308,
        "mount": 165,
        "pivot_root": 155,
        "bpf": 321,
        "io_uring_setup": 425,
        "memfd_create": 319,
        "execveat": 322,
        "perf_event_open": 298,
        "add_key": 248,
        "personality": 135,
        "clone3": 435,
        "vfork": 58,
        "mq_open": 240,
        "shmget": 29,
        "userfaultfd": 323,
    },
    "aarch64": {
        "ptrace": 117,
        "process_vm_readv": 270,
        "unshare": 97,
        "setns": 268,
        "mount": 40,
        "pivot_root": 41,
        "bpf": 280,
        "io_uring_setup": 425,
        "memfd_create": 279,
        "execveat": 281,
        "perf_event_open": 241,
        "add_key": 217,
        "personality": 92,
        "clone3": 435,
        "mq_open": 180,
        "shmget": 194,
        "userfaultfd": 282,
    },
}[platform.machine()]


def tell(group: str, what: str, attempt: Callable[[], object]) -> None:
    """Try it and say what came of it."""
    refused, result = "", None
    try:
        result = attempt()
    except OSError as error:
        refused = errno.errorcode.get(error.errno or 0, str(error))
    except MemoryError:
        refused = "ENOMEM"
    line = {"group": group, "tried": what, "refused": refused, "result": str(result)[:200]}
    print(json.dumps(line), file=sys.stderr, flush=True)


def call(name: str, *words: object) -> int:
    """A system call by its number; OSError as for those that Python knows."""
    ctypes.set_errno(0)
    result = libc.syscall(NUMBERS[name], *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    if name in ("vfork", "clone3") and result == 0:
        os._exit(0)
    return int(result)


def raw(function: str, connection: socket.socket, address: bytes) -> int:
    """connect(2) or bind(2) with an address as octets."""
    ctypes.set_errno(0)
    result = getattr(libc, function)(connection.fileno(), address, len(address))
    if result == -1:
        raise OSError(ctypes.get_errno(), function)
    return int(result)


def new(family: int, kind: int = socket.SOCK_STREAM) -> Callable[[], object]:
    return lambda: socket.socket(family, kind)


def written(path: str) -> Callable[[], object]:
    """A file made there, with an octet in it."""

    def write() -> int:
        with open(path, "wb", buffering=0) as file:
            return file.write(b"x")

    return write


def made(path: str) -> Callable[[], object]:
    return lambda: os.mkdir(path)


def read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()[:60]


def executable(folder: str) -> str:
    """One of the files below it that may be executed, whatever it would do then; or ENOEXEC."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            # access(2) asks for the mode and for the mount; a link is asked where it leads.
            if not os.path.islink(file) and os.access(file, os.X_OK):
                with open(file, "rb") as opened:
                    if opened.read(4)[:2] in (b"\x7fE", b"#!") and not is_ours(file):
                        return file
    raise OSError(errno.EACCES, folder)


def is_ours(file: str) -> bool:
    """Whether it is what the unit itself has to execute, or a library: these execute nothing."""
    name = os.path.basename(file)
    return os.path.realpath(sys.executable) == file or ".so" in name or name == "null521"


def without_sockets() -> None:
    """Everything but the network."""
    for path in ("/bin/sh", "/usr/bin/env", "/usr/bin/python3", "/usr/bin/perl"):
        if os.path.realpath(path) != os.path.realpath(sys.executable):
            tell("execute", f"access {path}", partial(allowed, path))
            tell("execute", f"execve {path}", partial(os.execv, path, [path]))
    tell("execute", "execve /usr/bin/dash", partial(os.execv, "/usr/bin/dash", ["dash"]))
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/local"):
        tell("execute", f"anything below {folder}", partial(executable, folder))
    tell("execute", "memfd_create", lambda: call("memfd_create", b"x", 0))
    tell("execute", "execveat", lambda: call("execveat", -1, b"/bin/sh", None, None, 0))
    tell("execute", "memory that is written, then executed", writable_and_executable)
    tell("processes", "fork", forked)
    tell("processes", "vfork", lambda: call("vfork" if "vfork" in NUMBERS else "clone3", 0, 0))
    tell("processes", "clone3", lambda: call("clone3", bytes(88), 88))
    tell("processes", "kill process 1", lambda: os.kill(1, 0))
    tell("processes", "ptrace", lambda: call("ptrace", 16, 1, 0, 0))
    tell("processes", "ptrace itself", lambda: call("ptrace", 0, 0, 0, 0))
    tell("processes", "process_vm_readv", lambda: call("process_vm_readv", 1, 0, 0, 0, 0, 0))
    for path in (
        "/etc/passwd",
        "/etc/shadow",
        "/etc/machine-id",
        "/etc/null521/tls-key.pem",
        "/proc/1/environ",
        "/proc/1/cmdline",
        "/proc/1/root/etc/passwd",
        "/proc/kcore",
        "/proc/sys/kernel/hostname",
        "/proc/net/tcp",
        "/sys/kernel/notes",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/sda",
        "/run/systemd/private",
        "/var/log/wtmp",
    ):
        tell("read", path, read(path))
    for folder in (
        "",
        "/tmp",
        "/var/tmp",
        "/var",
        "/run",
        "/run/systemd/journal",
        "/dev",
        "/dev/shm",
        "/dev/mqueue",
        "/usr",
        "/usr/local/lib/null521",
        "/etc",
        "/root",
        "/proc",
        "/sys",
        os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials"),
    ):
        tell("write", f"a file in {folder or '/'}", written(f"{folder}/hostile"))
        tell("write", f"a folder in {folder or '/'}", made(f"{folder}/hostile.d"))
    tell("write", "/proc/self/oom_score_adj", written("/proc/self/oom_score_adj"))
    tell("write", "/proc/sys/kernel/hostname", written("/proc/sys/kernel/hostname"))
    tell("privileges", "setuid", lambda: os.setuid(0))
    tell("privileges", "setgid", lambda: os.setgid(0))
    tell("privileges", "chroot", lambda: os.chroot("/tmp"))
    tell("privileges", "nice", lambda: os.nice(-5))
    tell("privileges", "mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
    tell("privileges", "unshare", lambda: call("unshare", 0x10000000))
    tell("privileges", "setns", lambda: call("setns", 0, 0))
    tell("privileges", "pivot_root", lambda: call("pivot_root", b"/tmp", b"/tmp"))
    tell("privileges", "mknod", lambda: os.mknod("/tmp/device", 0o60600, os.makedev(8, 0)))
    tell("kernel", "bpf", lambda: call("bpf", 0, 0, 0))
    tell("kernel", "io_uring_setup", lambda: call("io_uring_setup", 1, bytes(120)))
    tell("kernel", "perf_event_open", lambda: call("perf_event_open", 0, 0, -1, -1, 0))
    tell("kernel", "add_key", lambda: call("add_key", b"user", b"x", b"y", 1, -1))
    tell("kernel", "userfaultfd", lambda: call("userfaultfd", 1))
    tell("kernel", "mq_open", lambda: call("mq_open", b"x", 0o100, 0o600, None))
    tell("kernel", "shmget", lambda: call("shmget", 0, 4096, 0o1600))
    tell("kernel", "personality", lambda: call("personality", 0x0040000))


def allowed(path: str) -> str:
    if not os.path.exists(path):
        raise OSError(errno.ENOENT, path)
    if not os.access(path, os.X_OK):
        raise OSError(errno.EACCES, path)
    return path


def forked() -> int:
    if (child := os.fork()) == 0:
        os._exit(0)
    return child


def writable_and_executable() -> None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mmap.mmap(-1, 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def network(ours: socket.socket, name: str) -> None:
    """What the socket that was handed over allows, which is in the host's network."""
    for family, label in ((socket.AF_INET, "AF_INET"), (socket.AF_INET6, "AF_INET6")):
        tell("network", f"socket of {label}", new(family))
        tell("network", f"raw socket of {label}", new(family, socket.SOCK_RAW))
    tell("network", "socket of AF_NETLINK", new(socket.AF_NETLINK, socket.SOCK_RAW))
    tell("network", "socket of AF_PACKET", new(socket.AF_PACKET, socket.SOCK_RAW))
    tell("network", "socket of AF_VSOCK", new(socket.AF_VSOCK))
    unix = socket.socket(socket.AF_UNIX)
    tell("network", "connect to journald by AF_UNIX", lambda: unix.connect(JOURNAL))
    tell("network", "bind of AF_UNIX", lambda: unix.bind("\0hostile"))
    tell("network", "listen of AF_UNIX", unix.listen)
    tell("network", f"bind {name}", lambda: ours.bind(("::", 9998)))
    tell("network", f"connect {name} elsewhere", lambda: ours.connect(MAPPED))
    fast = f"MSG_FASTOPEN {name} elsewhere"
    tell("network", fast, lambda: ours.sendto(b"out", MSG_FASTOPEN, MAPPED))
    tell("network", f"connect {name} to AF_UNSPEC", lambda: raw("connect", ours, UNSPEC))
    tell("network", f"connect {name} elsewhere, after that", lambda: ours.connect(MAPPED))
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_RDWR)
    tell("network", f"connect {name} elsewhere, after shutdown", lambda: ours.connect(MAPPED))
    tell("network", f"{fast}, after shutdown", lambda: ours.sendto(b"out", MSG_FASTOPEN, MAPPED))
    tell("network", f"a filter taken off {name}", lambda: ours.setsockopt(1, 27, 0))
    tell("network", f"listen with {name}, after shutdown", ours.listen)


JOURNAL = "/run/systemd/journal/stdout"

if __name__ == "__main__":
    serves = sys.argv[1:2] == ["serve"]
    without_sockets()
    if serves:
        # What the server does before its first client can take it over.
        sys.path.insert(0, sys.argv[2])
        from null521.serve import listening

        (listener,) = listening.sockets((), dict(os.environ))
        listener.setblocking(True)
        client = listener.accept()[0]
    else:
        client = socket.socket(fileno=0)
    client.sendall(b"220 hostile\r\n")
    network(client, "the client's socket")
    if serves:
        network(listener, "the listening socket")
    print(json.dumps({"group": "end"}), file=sys.stderr, flush=True)
