"""What null521 check says of a zone that has each mistake. A real dnsmasq, which also validates."""

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from helpers.certificates import make
from helpers.nameserver import trust_anchor
from helpers.namespaces import TEST_TIMEOUT, TREE, Namespaces

# null521 refuses at rcpt, greeting, helo, and at rcpt with STARTTLS. Nothing is at REFUSED, and
# SILENT does not accept connections, as if packets to it vanished. RFC 5737.
RCPT, GREETING, HELO, TLS = (f"192.0.2.{number}" for number in range(1, 5))
REFUSED, SILENT, TLS6 = "192.0.2.9", "192.0.2.10", "2001:db8::4"
RESOLVER, UPSTREAM = "192.0.2.53", "192.0.2.54"

TEXT = "521 5.3.2 h.example is configured NOT to accept any mail."
UNNUMBERED = "521 h.example is configured NOT to accept any mail."
AT_RCPT = f"refuses at rcpt: '{TEXT}'"
NULL_MX = "15,000000"  # MX is type 15; preference 0 and the root's name: RFC 1035, 3.3.9

ONLY = "a null MX is MX 0 . (RFC 7505, 3)"
NO_NULL_MX = "DNS: no null MX (RFC 7505), which would tell most senders not to connect at all"
WITHOUT = (
    f"{RCPT}: STARTTLS is not offered, so senders that require TLS queue the mail; offer it "
    "(null521: tls-cert and tls-key)"
)
BLOCKED = (
    "many networks, such as clouds and access providers, block outgoing connections to port 25, "
    "so the cause may be here, not there; check from another network too"
)
NO_AD = "the record counts only with DNSSEC, which the name server does not confirm (no AD)"
DANE = "senders that use DANE queue the mail (by RFC 7672; not measured)"


def publish(name: str) -> str:
    return (
        f"DNS: if no mail to @{name} is wanted, and none is ever sent from it (cron's root@{name}, "
        "say; RFC 7505, 4.2), "
        f"publish: {name}. IN MX 0 ."
    )


def sends(name: str, policy: str) -> str:
    return f"DNS: mail may be sent from @{name}: its SPF record is '{policy}', not 'v=spf1 -all'"


def early(address: str, stage: str, senders: str) -> str:
    return f"{address}: some senders queue mail that is refused at {stage}: {senders}"


def tlsa(name: str, text: str) -> str:
    return f"_25._tcp.{name} IN TLSA {text}"


class Case:
    """A name in the zone: its records for dnsmasq, and what check has to print.

    answer: what follows the name. lines: those after it; the start of each is enough. strict: the
    exit status with --strict; without it, it is status.
    """

    def __init__(
        self, *records: str, answer: str = AT_RCPT, lines: list[str], status: int = 0, strict: int
    ) -> None:
        self.records, self.answer, self.lines = records, answer, lines
        self.status, self.strict = status, strict


def host(name: str, address: str = RCPT) -> str:
    return f"--host-record={name}.test,{address}"


def txt(name: str, *strings: str) -> str:
    return f"--txt-record={name}.test,{','.join(strings)}"


CASES = {
    # The null MX.
    "null": Case(host("null"), f"--dns-rr=null.test,{NULL_MX}", lines=[WITHOUT], strict=0),
    "none": Case(host("none"), lines=[WITHOUT, NO_NULL_MX, publish("none.test")], strict=0),
    "localhost": Case(
        host("localhost"),
        "--mx-host=localhost.test,localhost,0",
        lines=[
            WITHOUT,
            f"DNS: an MX makes senders connect to themselves: MX 0 localhost.; {ONLY}",
            publish("localhost.test"),
        ],
        strict=3,
    ),
    "loopback": Case(
        host("loopback"),
        host("self", "127.0.0.1"),
        "--mx-host=loopback.test,self.test,5",
        lines=[
            WITHOUT,
            f"DNS: an MX makes senders connect to themselves: MX 5 self.test.; {ONLY}",
            publish("loopback.test"),
        ],
        strict=3,
    ),
    "address": Case(
        host("address"),
        "--mx-host=address.test,127.0.0.1,0",
        lines=[
            WITHOUT,
            "DNS: an MX must name a host, not an address (RFC 1035, 3.3.9): "
            f"MX 0 127.0.0.1.; {ONLY}",
            publish("address.test"),
        ],
        strict=3,
    ),
    "ten": Case(
        host("ten"),
        "--dns-rr=ten.test,15,000a00",
        lines=[
            WITHOUT,
            "DNS: a null MX must have preference 0 and be the only MX (RFC 7505, 3): MX 10 .",
            publish("ten.test"),
        ],
        strict=3,
    ),
    "both": Case(
        host("both"),
        host("mx", REFUSED),
        f"--dns-rr=both.test,{NULL_MX}",
        "--mx-host=both.test,mx.test,10",
        lines=[
            WITHOUT,
            f"DNS: a null MX beside another MX, mx.test, is invalid; {ONLY}",
            publish("both.test"),
        ],
        strict=3,
    ),
    "nowhere": Case(
        host("nowhere"),
        "--mx-host=nowhere.test,gone.test,0",
        lines=[
            WITHOUT,
            f"DNS: an MX points to a host that has no address: MX 0 gone.test.; {ONLY}",
            publish("nowhere.test"),
        ],
        strict=3,
    ),
    "nodata": Case(  # the exchange exists, but has other records only
        host("nodata"),
        txt("bare", "x"),
        "--mx-host=nodata.test,bare.test,0",
        lines=[
            WITHOUT,
            f"DNS: an MX points to a host that has no address: MX 0 bare.test.; {ONLY}",
            publish("nodata.test"),
        ],
        strict=3,
    ),
    "evil": Case(
        host("evil"),
        "--dns-rr=evil.test,15,000004" + b"\x1b[2J\x04test\0".hex(),
        lines=[
            WITHOUT,
            rf"DNS: an MX points to a host that has no address: MX 0 \027[2J.test.; {ONLY}",
            publish("evil.test"),
        ],
        strict=3,
    ),
    "bare": Case(
        answer="undetermined: no address: ",
        lines=[
            "DNS: bare.test has neither an MX nor an address, so no mail can reach it; "
            "a null MX would say that this is intended (RFC 7505)",
            publish("bare.test"),
        ],
        status=2,
        strict=2,
    ),
    "gone": Case(
        answer="undetermined: no address: ",
        lines=["DNS: there is no such name"],
        status=2,
        strict=2,
    ),
    "elsewhere": Case(
        host("elsewhere"),
        "--mx-host=elsewhere.test,mx.test,10",
        lines=[
            WITHOUT,
            "DNS: the MX of elsewhere.test is mx.test, so its mail goes there, not here",
            publish("elsewhere.test"),
        ],
        strict=0,
    ),
    # Whether mail is sent from the name.
    "parked": Case(
        host("parked"),
        txt("parked", "v=spf1 -all"),
        lines=[WITHOUT, NO_NULL_MX, publish("parked.test")],
        strict=0,
    ),
    "sends": Case(
        host("sends"),
        txt("sends", "v=spf1 ", "mx ~all"),
        txt("sends", "other=v=spf1"),
        lines=[WITHOUT, sends("sends.test", "v=spf1 mx ~all") + "; with a null MX"],
        strict=0,
    ),
    "null-sends": Case(
        host("null-sends"),
        f"--dns-rr=null-sends.test,{NULL_MX}",
        txt("null-sends", "v=spf1 a \x1b[2J -all"),
        lines=[
            WITHOUT,
            sends("null-sends.test", r"v=spf1 a \x1b[2J -all") + "; because of the null MX,",
        ],
        strict=3,
    ),
    # The connection.
    "refused": Case(
        host("refused", REFUSED),
        answer="undetermined: connection failed: connection refused",
        lines=[f"{REFUSED}: {BLOCKED}", NO_NULL_MX, publish("refused.test")],
        status=2,
        strict=2,
    ),
    "silent": Case(
        host("silent", SILENT),
        answer="undetermined: no connection within 2 s",
        lines=[f"{SILENT}: {BLOCKED}", NO_NULL_MX, publish("silent.test")],
        status=2,
        strict=2,
    ),
    # The stage.
    "greeting": Case(
        host("greeting", GREETING),
        answer=f"refuses at greeting: '{UNNUMBERED}'",
        lines=[early(GREETING, "greeting", "Postfix "), NO_NULL_MX, publish("greeting.test")],
        strict=3,
    ),
    "helo": Case(
        host("helo", HELO),
        answer=f"refuses at helo: '{UNNUMBERED}'",
        lines=[early(HELO, "helo", "Exim "), NO_NULL_MX, publish("helo.test")],
        strict=3,
    ),
    # The certificate. "HEX" stands for what it really is, "00" for something else.
    "tls": Case(host("tls", TLS), lines=[NO_NULL_MX, publish("tls.test")], strict=0),
    "dane": Case(
        host("dane", TLS),
        "TLSA=dane.test,030101,SHA256",
        lines=[NO_NULL_MX, publish("dane.test")],
        strict=0,
    ),
    "mismatch": Case(
        host("mismatch", TLS),
        "--dns-rr=_25._tcp.mismatch.test,52,030101" + 32 * "ab",
        lines=[
            NO_NULL_MX,
            publish("mismatch.test"),
            f"{TLS}: the certificate does not match "
            f"{tlsa('mismatch.test', '3 1 1 abababababababab...')}, so {DANE}; {NO_AD}",
        ],
        strict=3,
    ),
    "no-starttls": Case(
        host("no-starttls"),
        "--dns-rr=_25._tcp.no-starttls.test,52,030101" + 32 * "ab",
        lines=[
            WITHOUT,
            NO_NULL_MX,
            publish("no-starttls.test"),
            f"{RCPT}: {tlsa('no-starttls.test', '3 1 1 abababababababab...')} promises STARTTLS, "
            f"so {DANE}; {NO_AD}",
        ],
        strict=3,
    ),
    "unusable": Case(
        host("unusable", TLS),
        "--dns-rr=_25._tcp.unusable.test,52,010101" + 32 * "ab",
        lines=[
            NO_NULL_MX,
            publish("unusable.test"),
            f"{TLS}: senders cannot use {tlsa('unusable.test', '1 1 1 abab')}",
        ],
        strict=3,
    ),
}

# A queue of connections that is full, so that the kernel does not answer any more.
FULL = f"""
import socket, time
server = socket.create_server(("{SILENT}", 25), backlog=0)
clients = [socket.socket() for _ in range(8)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("{SILENT}", 25))
time.sleep(1e6)
"""
SERVE = [sys.executable, "-m", "null521", "serve", "--hostname=h.example", "--log=none"]

# A zone that is signed, behind dnsmasq. Proof that there are no records is not in the zone, so a
# question about others gets no answer (SERVFAIL).
ORIGIN = "signed.test."
SIGNED = """
@ MX 0 .
{name} A 192.0.2.4
{ipv6}
{name} MX 0 .
{name} TXT "v=spf1 -all"
_25._tcp.{name} TLSA {tlsa}
"""
SIGNER = f"""
import sys
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from helpers import nameserver
key = load_pem_private_key(Path(sys.argv[1]).read_bytes(), None)
answer = nameserver.from_zone(Path(sys.argv[2]).read_text(), "{ORIGIN}", key=key)
nameserver.NameServer(answer, "{UPSTREAM}", 53).serve()
"""


class Network(Namespaces):
    """dnsmasq with the zone, null521 at four addresses, and a signing name server behind."""

    namespaces = ("--mount", "--net", "--pid")

    def __init__(self, folder: Path, cert: str, key: str) -> None:
        super().__init__(folder)
        certificate = x509.load_pem_x509_certificate(Path(cert).read_bytes())
        public_key = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashlib.sha256(public_key).hexdigest()
        records = [
            record.replace("TLSA=dane.test,", "--dns-rr=_25._tcp.dane.test,52,").replace(
                ",SHA256", digest
            )
            for case in CASES.values()
            for record in case.records
        ]
        dns = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"]
        dns += ["--no-hosts", "--no-resolv", "--local=/test/", "--bind-interfaces", "--pid-file="]
        dns += [f"--listen-address={RESOLVER}", *records]
        key_file, zone_file = folder.parent / "zone.pem", folder.parent / "zone"
        zone_key = ec.generate_private_key(ec.SECP256R1())
        key_file.write_bytes(
            zone_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        zone_file.write_text(
            SIGNED.format(name="good", tlsa=f"3 1 1 {digest}", ipv6=f"good AAAA {TLS6}")
            + SIGNED.format(name="bad", tlsa=f"3 1 1 {32 * 'ab'}", ipv6=f"bad AAAA {TLS6}")
            + SIGNED.format(name="half", tlsa=f"3 1 1 {digest}", ipv6="")
        )
        # dnsmasq believes this key for the zone; it does not start without one for the root.
        dns += [f"--server=/{ORIGIN}/{UPSTREAM}", "--dnssec", "--dnssec-check-unsigned=no"]
        dns += [f"--trust-anchor={trust_anchor(zone_key, zone)}" for zone in (ORIGIN, ".")]
        tls = [f"--tls-cert={cert}", f"--tls-key={key}"]
        programs = [
            dns,
            [sys.executable, "-c", SIGNER, str(key_file), str(zone_file)],
            [sys.executable, "-c", FULL],
            [*SERVE, "--refuse-at=rcpt", f"--listen={RCPT}:25"],
            [*SERVE, "--refuse-at=greeting", f"--listen={GREETING}:25"],
            [*SERVE, "--refuse-at=helo", f"--listen={HELO}:25"],
            [*SERVE, "--refuse-at=rcpt", f"--listen={TLS}:25", f"--listen=[{TLS6}]:25", *tls],
        ]
        background = "\n".join(f"{shlex.join(words)} &" for words in programs)
        self.inside = f"""
            ip link set lo up
            ip route add local 192.0.2.0/24 dev lo
            ip address add {TLS6}/128 dev lo nodad
            mount -t proc proc /proc
            echo 'nameserver {RESOLVER}' >resolv.conf
            : >hosts
            mount --bind resolv.conf /etc/resolv.conf
            mount --bind hosts /etc/hosts
            export PYTHONPATH={shlex.quote(f"{TREE}:{TREE}/tests")}
            {background}
            exec sleep infinity
        """

    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError, subprocess.CalledProcessError):
            smtp = self.output("ss", "-Hltn", "sport = 25").count("\n")
            dns = self.output("ss", "-Hlun", "sport = 53").count("\n")
            return (smtp, dns) == (6, 2)
        return False

    def check(self, *words: str) -> tuple[int, str]:
        """Exit status and output of null521 check in the network."""
        limit = "--timeout=2" if "silent.test" in words else "--timeout=10"
        command = [sys.executable, "-m", "null521", "check", limit, *words]
        environ = {**os.environ, "PYTHONPATH": str(TREE)}
        done = self.run(
            command, check=False, capture_output=True, env=environ, timeout=3 * TEST_TIMEOUT
        )
        assert done.stderr == b""
        return done.returncode, done.stdout.decode()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    with Network(folder / "host", *make(folder)) as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed(network: Network, name: str) -> None:
    case = CASES[name]
    status, said = network.check(f"{name}.test")
    answer, *lines = said.splitlines()
    separator = ": " if case.status == 2 else " "
    assert answer.startswith(f"{name}.test{separator}{case.answer}"), said
    assert len(lines) == len(case.lines), said
    for line, expected in zip(lines, case.lines, strict=True):
        assert line.startswith(expected)
    assert said.isascii()
    assert said.replace("\n", "").isprintable()
    assert status == case.status


@pytest.mark.parametrize("name", CASES)
def test_the_same_with_strict_and_as_json(network: Network, name: str) -> None:
    case = CASES[name]
    status, said = network.check("--strict", "--json", f"{name}.test")
    found: dict[str, Any] = json.loads(said)
    assert (status, found["status"]) == (case.strict, case.strict)
    assert len(found["faults"]) == len(case.lines)
    has_fault = any(remark["level"] == "fault" for remark in found["remarks"])
    assert has_fault == (case.strict == 3)


def remarks(network: Network, name: str) -> dict[str, dict[str, Any]]:
    """By name, each of them once."""
    found = json.loads(network.check("--json", f"{name}.test")[1])
    named = {remark["name"]: remark for remark in found["remarks"]}
    assert len(named) == len(found["remarks"])
    return {**named, "": found}


def test_senders_that_queue_the_mail(network: Network) -> None:
    """By name, for programs."""
    found = remarks(network, "greeting")["refused-early"]
    assert {sender.split()[0] for sender in found["senders"]} == {"Postfix", "Exim", "OpenSMTPD"}
    assert remarks(network, "none")["starttls-not-offered"]["senders"]


def test_a_certificate_that_matches(network: Network) -> None:
    """Without DNSSEC: dnsmasq has that zone itself, and does not vouch for it."""
    found = remarks(network, "dane")
    text = found["tlsa-matches"]["text"]
    assert text.startswith("the certificate matches _25._tcp.dane.test IN TLSA 3 1 1 ")
    assert text.endswith(f"...; {NO_AD}")
    assert found[""]["dns"]["tlsa"]["ad"] is False
    assert found["self-signed"]["about"] == TLS


def test_dnssec(network: Network) -> None:
    """A zone that is signed, as dnsmasq has checked."""
    secured = "; the name server says that DNSSEC secures the record (AD)"
    status, said = network.check("--strict", "--verbose", "good.signed.test")
    assert (status, f", {TLS}: the certificate matches _25._tcp.good.signed.test" in said) == (
        0,
        True,
    )
    assert f"...{secured}\n" in said
    status, said = network.check("--strict", "bad.signed.test")
    text = tlsa("bad.signed.test", "3 1 1 abababababababab...")
    line = f"{TLS6}, {TLS}: the certificate does not match {text}, so {DANE}{secured}"
    assert (status, said.splitlines()[1:]) == (3, [line])


@pytest.mark.parametrize("words", [(), (f"--resolver={RESOLVER}",)])
def test_addresses_of_one_version_are_not_known(network: Network, words: tuple[str, ...]) -> None:
    """The name server fails when it is asked for IPv6 addresses. The others are judged."""
    status, said = network.check("--strict", *words, "half.signed.test")
    answer, line = said.splitlines()
    assert (status, answer.split(" ")[0]) == (0, "half.signed.test")
    assert line.startswith("DNS: whether half.signed.test has IPv6 addresses is not known: ")
