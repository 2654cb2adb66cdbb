"""What null521 check says about the DNS of a host. A real dnsmasq, on a network of its own."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.namespaces import TEST_TIMEOUT, TREE, Namespaces

# RFC 5737 and RFC 3849. null521 answers on the first two, nothing on the third.
HERE, HERE6, ELSEWHERE = "192.0.2.1", "2001:db8::1", "192.0.2.9"
UNREACHABLE, UNREACHABLE6 = "203.0.113.1", "2001:db8:1::1"
# Name servers: the system's, another for split DNS, and one that never answers.
SYSTEM, SPLIT, SILENT = "192.0.2.53", "192.0.2.54", "192.0.2.55"
MANY = [f"192.0.2.{number}" for number in range(100, 112)]

NULL_MX = "15,000000"  # MX is type 15; preference 0 and the root's name: RFC 1035, 3.3.9
CLEAR = b"\x1b[2J"  # clears a terminal
RECORDS = [
    *(f"--host-record={name}.test,{HERE}" for name in ("null", "ten", "both", "elsewhere", "evil")),
    *(f"--host-record={name}.test,{HERE}" for name in ("here", "by-address", "also-here", "mixed")),
    *(f"--host-record={name}.test,{HERE}" for name in ("www.up", "a.b.up")),
    *(f"--host-record={name},{HERE},{HERE6}" for name in ("none.test", "silent.test", "x.example")),
    f"--host-record=half-reachable.test,{HERE},{UNREACHABLE6}",
    f"--host-record=unreachable.test,{UNREACHABLE}",
    f"--host-record=half.test,{ELSEWHERE},{HERE6}",
    f"--host-record=mx.test,{ELSEWHERE}",
    *(f"--host-record=many.test,{address}" for address in MANY),
    "--cname=alias.test,none.test",
    "--cname=null-alias.test,null.test",
    f"--dns-rr=null.test,{NULL_MX}",
    "--dns-rr=ten.test,15,000a00",
    f"--dns-rr=both.test,{NULL_MX}",
    "--mx-host=both.test,mx.test,10",
    "--mx-host=elsewhere.test,mx.test,10",
    "--mx-host=here.test,here.test,10",
    "--mx-host=by-address.test,also-here.test,10",
    "--mx-host=mixed.test,mixed.test,10",
    "--mx-host=mixed.test,mx.test,20",
    "--mx-host=up.test,www.up.test,10",
    "--mx-host=mail-only.test,mx.test,10",
    f"--dns-rr=evil.test,15,000a04{CLEAR.hex()}00",
    # Their addresses are known here; other records are asked of a server that never answers. Names
    # that are neither known nor below .test are REFUSED.
    f"--server=/silent.test/{SILENT}",
    f"--server=/in-hosts.test/{SILENT}",
]
IN_HOSTS = f"{HERE} in-hosts.test"

ADVICE = re.compile("^[0-9a-f.:, ]+: STARTTLS is not offered, .*\n", re.MULTILINE)
SERVE = [sys.executable, "-m", "null521", "serve", "--refuse-at=rcpt", "--log=none"]
BOUND = "import socket, time; s = socket.socket(type=2); s.bind(('{}', 53)); time.sleep(1e6)"


# Those of whose name server or address nothing comes back.
SLOW = {"silent.test", "in-hosts.test"}


class Network(Namespaces):
    """Name servers, null521 on two addresses, and files in /etc that point to them."""

    namespaces = ("--mount", "--net", "--pid")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        dns = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"]
        dns += ["--no-hosts", "--no-resolv", "--local=/test/", "--bind-interfaces", "--pid-file="]
        split = [f"--host-record=none.test,{HERE}", f"--dns-rr=none.test,{NULL_MX}"]
        programs = [
            [*dns, f"--listen-address={SYSTEM}", *RECORDS],
            [*dns, f"--listen-address={SPLIT}", "--port=5353", *split],
            [sys.executable, "-c", BOUND.format(SILENT)],
            [*SERVE, f"--listen={HERE}:25", f"--listen=[{HERE6}]:25"],
        ]
        background = "\n".join(f"{shlex.join(words)} &" for words in programs)
        self.inside = f"""
            ip link set lo up
            ip route add local 192.0.2.0/24 dev lo
            ip address add {HERE6}/128 dev lo nodad
            mount -t proc proc /proc
            # Otherwise the domain of this machine would be searched too.
            printf '%s\n' 'nameserver {SYSTEM}' 'search .' >resolv.conf
            echo '{IN_HOSTS}' >hosts
            echo 'nameserver {SILENT}' >silent.conf
            mount --bind resolv.conf /etc/resolv.conf
            mount --bind hosts /etc/hosts
            export PYTHONPATH={shlex.quote(str(TREE))}
            {background}
            exec sleep infinity
        """

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError, subprocess.CalledProcessError):
            smtp = self.output("ss", "-Hltn", "sport = 25").count("\n")
            dns = self.output("ss", "-Hlun", "sport = 53 or sport = 5353").count("\n")
            return (smtp, dns) == (2, 3)
        return False

    def check(self, *words: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit status and output of null521 check in the network.

        Without the advice to offer STARTTLS, which test_check_zone.py is about.
        """
        limit = "--timeout=2" if SLOW.intersection(words) else "--timeout=10"
        command = [*before, sys.executable, "-m", "null521", "check", limit, *words]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        done = self.run(
            command, check=False, capture_output=True, env=environ, timeout=3 * TEST_TIMEOUT
        )
        assert done.stderr == b""
        return done.returncode, ADVICE.sub("", done.stdout.decode())

    def with_a_silent_server(self, *words: str) -> tuple[int, str]:
        """Like check(), with a system name server that never answers."""
        mount = f'mount --bind {self._folder}/silent.conf /etc/resolv.conf && exec "$@"'
        return self.check(
            "--timeout=2", *words, before=("unshare", "--mount", "sh", "-euc", mount, "sh")
        )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("network") / "host") as running:
        yield running


def answer(name: str) -> str:
    """The line for a host that refuses."""
    node = os.uname().nodename
    return f"{name} refuses at rcpt: '521 5.3.2 {node} is configured NOT to accept any mail.'"


NONE = "DNS: no null MX (RFC 7505), which would tell most senders not to connect at all"
NOT_HERE = "an MX must not point to a host that answers 521 (RFC 1846, 4.3)"


def elsewhere(name: str, exchange: str = "mx.test") -> str:
    return f"DNS: the MX of {name} is {exchange}, so its mail goes there, not here (RFC 5321, 5.1)"


def publish(name: str) -> str:
    return (
        f"DNS: if no mail to @{name} is wanted, and none is ever sent from it (cron's root@{name}, "
        "say; RFC 7505, 4.2), "
        f"publish: {name}. IN MX 0 ."
    )


@pytest.mark.parametrize(
    ("name", "faults"),
    {
        "null.test": [],
        "null.test.": [],
        "null-alias.test": [],
        "none.test": [NONE, publish("none.test")],
        "alias.test": [NONE, publish("none.test")],
        "ten.test": [
            "DNS: a null MX must have preference 0 and be the only MX (RFC 7505, 3): MX 10 .",
            publish("ten.test"),
        ],
        "both.test": [
            "DNS: a null MX beside another MX, mx.test, is invalid; "
            "a null MX is MX 0 . (RFC 7505, 3)",
            publish("both.test"),
        ],
        "elsewhere.test": [elsewhere("elsewhere.test"), publish("elsewhere.test")],
        "evil.test": [elsewhere("evil.test", r"\027[2J"), publish("evil.test")],
        "here.test": [
            f"DNS: the MX of here.test is this host, here.test: {NOT_HERE}",
            publish("here.test"),
        ],
        "by-address.test": [
            f"DNS: the MX of by-address.test is this host, also-here.test: {NOT_HERE}",
            publish("by-address.test"),
        ],
        "mixed.test": [
            f"DNS: the MX of mixed.test is this host, mixed.test: {NOT_HERE}",
            elsewhere("mixed.test"),
            publish("mixed.test"),
        ],
        # All mail for the parent domain bounces, although the host's own name has no MX.
        "www.up.test": [
            NONE,
            f"DNS: the MX of up.test is this host, www.up.test: {NOT_HERE}",
            publish("www.up.test"),
        ],
        "a.b.up.test": [
            NONE,
            f"DNS: the MX of up.test is this host, www.up.test: {NOT_HERE}",
            publish("a.b.up.test"),
        ],
        # DNS that does not answer, or refuses to, does not change the answer.
        "silent.test": ["DNS: no answer within 2 s"],
        "x.example": ["DNS: no answer: REFUSED"],
        "in-hosts.test": ["DNS: no answer within 2 s"],
    }.items(),
)
def test_what_dns_says(network: Network, name: str, faults: list[str]) -> None:
    assert network.check(name) == (0, "\n".join([answer(name), *faults, ""]))


def test_no_host(network: Network) -> None:
    status, said = network.check("gone.test")
    assert (status, said.splitlines()[1:]) == (2, ["DNS: there is no such name"])
    assert said.startswith("gone.test: undetermined: no address: ")
    status, said = network.check("mail-only.test")
    assert (status, elsewhere("mail-only.test") in said) == (2, True)
    assert said.startswith("mail-only.test: undetermined: no address: ")


def test_without_dns(network: Network) -> None:
    assert network.check("--no-dns", "here.test") == (0, answer("here.test") + "\n")
    assert network.check(HERE) == (0, answer(HERE) + "\n")
    assert network.check(HERE6) == (0, answer(HERE6) + "\n")


def test_another_name_server(network: Network) -> None:
    """For split DNS: only that server is asked, also for addresses."""
    other = f"--resolver={SPLIT}:5353"
    assert network.check(other, "none.test") == (0, answer("none.test") + "\n")
    gone = (
        "null.test: undetermined: no address: there is no such name\nDNS: there is no such name\n"
    )
    assert network.check(other, "null.test") == (2, gone)
    nobody = "{}: undetermined: no address: no answer within 2 s\nDNS: no answer within 2 s\n"
    for resolver in (SILENT, ELSEWHERE):
        found = network.check("--timeout=2", f"--resolver={resolver}", "none.test")
        assert found == (2, nobody.format("none.test"))


def test_another_name_server_takes_names_as_complete(network: Network) -> None:
    """What is searched is of this host's networks, and that server may be of none of them."""
    named = ("unshare", "--uts", "sh", "-euc", 'hostname here.test && exec "$@"', "sh")
    status, said = network.check(f"--resolver={SPLIT}:5353", "none", before=named)
    assert (status, said.splitlines()[1]) == (2, "DNS: no answer: REFUSED")


def test_a_system_name_server_that_never_answers(network: Network) -> None:
    """The C library would wait longer than the timeout."""
    said = f"{answer('in-hosts.test')}\nDNS: no answer within 2 s\n"
    assert network.with_a_silent_server("in-hosts.test") == (0, said)
    said = "none.test: undetermined: no address: not found within 2 s\nDNS: no answer within 2 s\n"
    assert network.with_a_silent_server("none.test") == (2, said)


def test_several_addresses(network: Network) -> None:
    """Each is asked; one that is unreachable from here does not change the answer."""
    no_route = "undetermined: connection failed: network is unreachable"
    status, said = network.check("--no-dns", "half-reachable.test")
    assert status == 0
    assert said.splitlines() == [
        answer(f"half-reachable.test at {HERE}"),
        f"half-reachable.test at {UNREACHABLE6}: {no_route}",
    ]
    assert network.check("--no-dns", "unreachable.test") == (2, f"unreachable.test: {no_route}\n")
    status, said = network.check("--no-dns", "half.test")
    assert status == 2
    assert said.splitlines() == [
        f"half.test at {ELSEWHERE}: undetermined: connection failed: connection refused",
        answer(f"half.test at {HERE6}"),
        f"{ELSEWHERE}: many networks, such as clouds and access providers, block outgoing "
        "connections to port 25, so the cause may be here, not there; check from another network "
        "too",
    ]


def test_too_many_addresses(network: Network) -> None:
    status, said = network.check("--json", "--no-dns", "many.test")
    found = json.loads(said)
    asked = [one["address"] for one in found["addresses"]]
    assert (status, len(asked), sorted(asked + found["not_asked"])) == (2, 8, sorted(MANY))
    assert any(fault.startswith("too many addresses; not asked: ") for fault in found["faults"])


def test_in_full(network: Network) -> None:
    _, said = network.check("--verbose", "alias.test")
    lines = said.splitlines()
    note = "DNS: alias.test is an alias of none.test, whose MX records apply to it (RFC 5321, 5.1)"
    assert note in lines
    assert [line.split()[0] for line in lines if " always 521 " in line] == [HERE6, HERE]
    assert "DNS: there is a null MX (RFC 7505)" in network.check("--verbose", "null.test")[1]


def test_as_json(network: Network) -> None:
    _, said = network.check("--json", "null-alias.test")
    dns: dict[str, Any] = json.loads(said)["dns"]
    note = "null-alias.test is an alias of null.test, whose MX records apply to it (RFC 5321, 5.1)"
    assert dns == {
        "name": "null.test",
        "mx": [[0, "."]],
        "null_mx": True,
        "spf": "",
        "tlsa": None,
        "faults": [],
        "notes": [note, "there is a null MX (RFC 7505)"],
        "record": "",
        "condition": "",
        "trouble": "",
    }


def test_what_the_null_mx_makes_senders_do(network: Network) -> None:
    """They do not connect, so the stage at which the host refuses does not matter."""
    for name, because, outcomes in (
        ("null.test", "they see the null MX", ["queues the mail for days", "bounces at once"]),
        ("none.test", "refused at rcpt, without STARTTLS", ["bounces at once"]),
    ):
        [group] = json.loads(network.check("--json", name)[1])["senders"]
        assert group["because"] == because
        found: dict[str, list[str]] = {}
        for sender in group["senders"]:
            found.setdefault(sender["sender"].split()[0], []).append(sender["outcome"])
        # OpenSMTPD before and from 7.5.
        assert found["OpenSMTPD"] == outcomes
        assert found["Postfix"] == ["bounces at once"]
