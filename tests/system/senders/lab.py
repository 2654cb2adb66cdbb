"""The network: one host that refuses all mail, at each stage on an address of its own, and hosts
that send to it.

Every host is namespaces of its own, joined by veth pairs to a bridge in those of the refusing host,
which is also their DNS. No packet leaves them. This must not know what runs on a sending host:
that is mtas.py's.
"""

import contextlib
import itertools
import shlex
import subprocess
from pathlib import Path
from typing import Any

from helpers.namespaces import DEVICES, TREE, BootedJournald, Namespaces

from null521.session import STAGES

BUILD = TREE / "build"
ROOTS = BUILD / "senders"  # made by scripts/prepare
TCPSERVER = BUILD / "superservers/ucspi-tcp/usr/bin/tcpserver"

# RFC 5737: addresses for documentation, which no sender takes for private ones. The first are the
# refusing host's, the others the senders'.
NETWORK = "198.51.100"
SENDERS = ("203.0.113", "192.0.2")
RESOLVER = f"{NETWORK}.53"

# The refusing host's names, and how the program is told to refuse mail for each.
FLAGS = {f"{stage}.test": [f"--refuse-at={stage}"] for stage in STAGES}
CERTIFIED = ["--tls-cert=/mnt/cert.pem", "--tls-key=/mnt/key.pem"]
FLAGS["tls.test"] = ["--refuse-at=rcpt", *CERTIFIED]
FLAGS["mail-tls.test"] = ["--refuse-at=mail", *CERTIFIED]
HANGS_UP = "hangs-up.test"  # which is not us, and does so after 521: RFC 1846, 4.2 (a)
SERVE = "serve.test"  # where nothing answers until `null521 serve` does, which a test may start
ADDRESSES = {
    name: f"{NETWORK}.{number}" for number, name in enumerate([*FLAGS, HANGS_UP, SERVE], 1)
}
NULL_MX = "null-mx.test"  # whose DNS says that it takes no mail: RFC 7505

# /mnt is the refusing host's own. tcpserver runs the program as 65534, which has to read the key.
CERTIFICATE = """
    mount -t tmpfs -o mode=755 tmpfs /mnt
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj /CN=tls.test -out /mnt/cert.pem -keyout /mnt/key.pem
    chown 65534:65534 /mnt/key.pem
"""


def package_of(layer: str) -> str:
    """The Debian package of a layer: opensmtpd for debian-13-opensmtpd."""
    return layer.split("-", 2)[2]


def in_network(
    host: Namespaces, *words: str, **options: Any
) -> "subprocess.CompletedProcess[bytes]":
    """subprocess.run() in the host's network alone, with the files and process ids of outside."""
    command = ["nsenter", f"--net=/proc/{host.pid}/ns/net", *words]
    return subprocess.run(command, **{"check": True, **options})


class RefusingHost(BootedJournald):
    """tcpserver by the README's line on each address, a journald for the records, and a DNS."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        super().__init__(folder)
        # Names have an A record and no MX: RFC 5321, section 5.1 has mail go there all the same.
        dns = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"]
        dns += ["--no-hosts", "--no-resolv", "--local=/test/", "--local=/example/", "--pid-file="]
        dns += [f"--host-record={name},{address}" for name, address in ADDRESSES.items()]
        # MX is type 15; the octets are the preference 0 and the root's name: RFC 1035, 3.3.9.
        dns += [
            f"--host-record={NULL_MX},{ADDRESSES['rcpt.test']}",
            f"--dns-rr={NULL_MX},15,000000",
        ]
        limits = ["-R", "-H", "-l", "0", "-c", "64", "-u", "65534", "-g", "65534"]
        programs = {
            name: [str(launcher), f"--hostname={name}", *flags] for name, flags in FLAGS.items()
        }
        text = f"521 {HANGS_UP} is configured NOT to accept any mail."
        programs[HANGS_UP] = ["printf", f"{text}\\r\\n"]
        servers = [
            [str(TCPSERVER), *limits, ADDRESSES[name], "25", *program]
            for name, program in programs.items()
        ]
        addresses = (RESOLVER, *ADDRESSES.values())
        self.inside = "\n".join(
            [
                # Without an address of its own it takes over a cable's, and another with the next.
                "ip link add lan address 02:00:00:00:05:21 type bridge",
                *(f"ip address add {address}/24 dev lan" for address in addresses),
                "ip link set lan up",
                *(f"ip route add {network}.0/24 dev lan" for network in SENDERS),
                CERTIFICATE,
                *(f"{shlex.join(words)} >/dev/null 2>&1 &" for words in (dns, *servers)),
                BootedJournald.inside,
            ]
        )

    def answers(self) -> bool:
        if not super().answers():
            return False
        smtp = self.output("ss", "-Hltn", "sport = 25").count("\n")
        return smtp == len([*FLAGS, HANGS_UP]) and bool(self.output("ss", "-Hlun", "sport = 53"))

    def connect(self, host: "SendingHost") -> None:
        """Lay a cable to that host."""
        link = f"to-{host.number}"
        words = f"ip link add {link} master lan type veth peer name eth0 netns {host.pid}"
        in_network(self, *words.split())
        in_network(self, "ip", "link", "set", link, "up")
        in_network(host, "ip", "address", "add", f"{host.address}/32", "dev", "eth0")
        in_network(host, "ip", "link", "set", "eth0", "up")
        in_network(host, "ip", "route", "add", f"{NETWORK}.0/24", "dev", "eth0")


class SendingHost(Namespaces):
    """The root that scripts/prepare made for a sender, on a copy that is thrown away.

    Its first process is a syslogd, which writes /var/log/mail.
    """

    namespaces = ("--mount", "--net", "--pid", "--uts", "--ipc")
    log = "/var/log/mail"
    inside = rf"""
        ip link set lo up
        mount -t tmpfs tmpfs .
        mkdir upper work root
        mount -t overlay -o "lowerdir=$layer/upper:$base,upperdir=upper,workdir=work" overlay root
        mkdir -p root/old
        mount -t proc proc root/proc
        dev=root/dev
        {DEVICES}
        hostname "$name"
        printf '%s\n' '127.0.0.1 localhost' "$address $name ${{name%%.*}}" >root/etc/hosts
        echo "nameserver $resolver" >root/etc/resolv.conf
        cd root
        pivot_root . old
        umount -l /old
        exec env -i busybox syslogd -n -O {log}
    """
    numbers = itertools.count()

    def __init__(self, folder: Path, layer: str) -> None:
        """layer: as scripts/prepare names it, such as debian-13-postfix."""
        super().__init__(folder)
        self.package = package_of(layer)
        base = layer.removesuffix(f"-{self.package}")
        self.layer = layer
        self.name = f"{self.package}.example"
        self.number = next(self.numbers)
        network, last = divmod(self.number, 254)
        self.address = f"{SENDERS[network]}.{last + 1}"
        values = {
            "layer": str(ROOTS / layer),
            "base": str(ROOTS / base),
            "name": self.name,
            "address": self.address,
            "resolver": RESOLVER,
        }
        given = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        self.inside = given + SendingHost.inside

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            # Not the host's: only the root of the tests has /old.
            test = self.command(["sh", "-c", "test -d /old && test -S /dev/log"])
            return subprocess.run(test, check=False, stderr=subprocess.DEVNULL).returncode == 0
        return False

    def command(self, words: list[str]) -> list[str]:
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"]
        return super().command([*clean, *words])

    def path(self, inside: str) -> Path:
        """Where a file of this host is for those outside."""
        return Path(f"/proc/{self.pid}/root") / inside.removeprefix("/")
