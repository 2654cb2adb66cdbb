"""The mail servers that send: how each is set up, told to insist on TLS, started, and asked what
became of a message.

What is set is only what a machine with a network needs to be told; all else is the distribution's
default. This must not know what is expected of them: that is test_senders.py's.
"""

import email
import re
import subprocess
import sys
import time
from email.message import Message
from pathlib import Path
from typing import NamedTuple, Self

from helpers.namespaces import TEST_TIMEOUT
from lab import RefusingHost, SendingHost, in_network

AT_ONCE = 10.0  # seconds from submission to the bounce in the mailbox
SUBMIT = Path(__file__).parent / "submit.py"
USER = "ann"
DELIVERY_STATUS = ("message/delivery-status", "message/global-delivery-status")


class Mta(NamedTuple):
    """One mail server's ways."""

    name: str
    setup: str  # bash
    insist: str  # bash, after setup: mandatory TLS, whatever the certificate
    start: str  # bash
    queue: str  # bash: prints what is in the queue, and nothing if nothing is
    log: str
    deferral: str  # regular expression for the log: that {recipient} was deferred, and why
    mbox: str = f"/var/mail/{USER}"
    maildir: str = ""


# By Debian package.
MTAS = {
    "postfix": Mta(
        name="Postfix",
        setup=":",
        insist="postconf smtp_tls_security_level=encrypt",
        # In Debian 12 the unit copies resolv.conf and the like into the chroot.
        start="""
            . /etc/os-release
            [ "$VERSION_ID" != 12 ] || /usr/lib/postfix/configure-instance.sh -
            postfix start
        """,
        queue="postqueue -j",
        log=SendingHost.log,
        deferral=r"to=<{recipient}>.* status=deferred \((.*)\)",
    ),
    "exim4-daemon-light": Mta(
        name="Exim",
        # The default is for a host without a network. SMTPUTF8 is built in, but not offered.
        setup="""
            sed -i "s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/" \
                /etc/exim4/update-exim4.conf.conf
            echo 'MAIN_SMTPUTF8_ADVERTISE_HOSTS = 127.0.0.1' >/etc/exim4/exim4.conf.localmacros
        """,
        insist="echo 'REMOTE_SMTP_HOSTS_REQUIRE_TLS = *' >>/etc/exim4/exim4.conf.localmacros",
        start="update-exim4.conf && exim4 -bd -q30m",
        queue="exim4 -bp",
        log="/var/log/exim4/mainlog",
        deferral=r"== {recipient} .* defer \(-?\d+\)[^:]*: (.*)",
    ),
    "opensmtpd": Mta(
        name="OpenSMTPD",
        setup=":",
        insist="sed -i 's/^action \"relay\" relay$/& tls no-verify/' /etc/smtpd.conf",
        start="smtpd",
        queue="smtpctl show queue",
        log=SendingHost.log,
        deferral=r'to=<{recipient}> .* result="TempFail" stat="(.*)"',
        maildir=f"/home/{USER}/Maildir",
    ),
    "sendmail": Mta(
        name="sendmail",
        setup=":",
        # 112 bits are what is left of triple DES, the weakest cipher worth the name.
        insist="""
            echo 'TLS_Srv: ENCR:112' >>/etc/mail/access
            makemap hash /etc/mail/access </etc/mail/access
        """,
        # Whatever the load of this machine is: above eight for each core, it would only queue.
        start="/usr/sbin/sendmail -L sm-mta -bd -q10m -OQueueLA=9999 -ORefuseLA=9999",
        queue="mailq | grep -v -e 'Queue status' -e 'is empty' -e 'Total requests: 0' || :",
        log=SendingHost.log,
        deferral=r"to=<{recipient}>.* stat=Deferred: (.*)",
    ),
}

RELEASES = (12, 13)
# As scripts/prepare names their layers: each of Debian 12 and of Debian 13.
SENDERS = [f"debian-{release}-{package}" for package in MTAS for release in RELEASES]


class Report(NamedTuple):
    """What a bounce says of one recipient: RFC 3464, section 2.3, and the text for people."""

    action: str
    status: str
    text: str


class Fate(NamedTuple):
    """What became of a message for one recipient."""

    outcome: str  # "bounced at once", "bounced late" or "deferred"
    reason: str  # why deferred, as in the log
    report: Report | None  # of the bounce


class MailServer(SendingHost):
    """A sending host with its mail server running, joined to the refusing host."""

    def __init__(
        self, folder: Path, refusing: RefusingHost, layer: str, insists_on_tls: bool = False
    ) -> None:
        super().__init__(folder, layer)
        self.mta = MTAS[self.package]
        self.user = f"{USER}@{self.name}"
        self.refusing = refusing
        self._insists_on_tls = insists_on_tls

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.refusing.connect(self)
            insist = self.mta.insist if self._insists_on_tls else ""
            script = "\n".join([f"useradd -m {USER}", self.mta.setup, insist, self.mta.start])
            # Not a pipe, which a daemon would keep open.
            with (self._folder / "setup.log").open("w+b") as log:
                words = ["bash", "-euc", script]
                done = self.run(
                    words, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                log.seek(0)
                assert done.returncode == 0, f"{self.layer}: {log.read().decode()}"
            deadline = time.monotonic() + TEST_TIMEOUT
            listening = ("ss", "-Hltn", "sport = 25")
            while not in_network(self, *listening, stdout=subprocess.PIPE).stdout:
                assert time.monotonic() < deadline, f"{self.name} does not listen"
                time.sleep(0.02)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def submit(self, message: str, *recipients: str, null: bool = False, with_: str = "") -> str:
        """Hand it a message from the user, or from <>; the complaint if it does not take it.

        with_: a parameter of MAIL.
        """
        sender = "" if null else self.user
        words = [sys.executable, str(SUBMIT), sender, ",".join(recipients), *with_.split()]
        given = message.encode()
        done = in_network(self, *words, check=False, input=given, stderr=subprocess.PIPE)
        return done.stderr.decode().strip()

    def queue(self) -> str:
        """What is in the queue."""
        return self.output("bash", "-uc", self.mta.queue).strip()

    def log_text(self) -> str:
        """What it has written into its log so far."""
        return self.path(self.mta.log).read_text(errors="replace")

    def reports(self) -> list[tuple[str, Report]]:
        """Recipients, and what the bounces in the user's mailbox say of them."""
        if self.mta.maildir:
            messages = [
                path.read_bytes() for path in self.path(f"{self.mta.maildir}/new").glob("*")
            ]
        elif (path := self.path(self.mta.mbox)).exists():
            _, *messages = re.split(rb"^From .*\n", path.read_bytes(), flags=re.MULTILINE)
        else:
            messages = []
        parsed = map(email.message_from_bytes, messages)
        return [found for message in parsed for found in _reports(message)]

    def fate(self, recipient: str) -> Fate:
        """Wait until what was submitted for that recipient has bounced or been deferred."""
        start = time.monotonic()
        deferral = self.mta.deferral.format(recipient=re.escape(recipient))
        while time.monotonic() < start + TEST_TIMEOUT:
            for to, report in self.reports():
                if to == recipient:
                    late = time.monotonic() > start + AT_ONCE
                    return Fate("bounced late" if late else "bounced at once", "", report)
            if found := re.search(deferral, self.log_text()):
                return Fate("deferred", found[1], None)
            time.sleep(0.05)
        raise AssertionError(f"{recipient} has no fate; {self.name} says:\n{self.log_text()}")

    def wait_for_empty_queue(self) -> None:
        """AssertionError if something stays in it."""
        deadline = time.monotonic() + AT_ONCE
        while left := self.queue():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def version(self) -> str:
        """Of its Debian package."""
        words = ["dpkg-query", "--show", "--showformat=${Version}", self.package]
        return self.output(*words)


def _reports(message: Message) -> list[tuple[str, Report]]:
    """What one message says as a bounce: nothing if it is none, or not written to its end yet."""
    text, found = "", []
    for part in message.walk():
        if part.get_content_type() == "text/plain" and not text:
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            text = " ".join(octets.decode().split())
        # RFC 6533, section 3: it is global where an address is not ASCII.
        if part.get_content_type() in DELIVERY_STATUS:
            for block in part.as_bytes().decode().split("\n\n"):
                fields = email.message_from_string(block)
                if fields["Final-Recipient"] and fields["Status"] and fields["Action"]:
                    _, _, to = fields["Final-Recipient"].partition(";")
                    found.append((to.strip(), Report(fields["Action"], fields["Status"], text)))
    return found


# The Status field of the bounce: Exim and OpenSMTPD do not look at the one in our reply.
STATUS = {
    "postfix": "5.3.2",
    "exim4-daemon-light": "5.0.0",
    "opensmtpd": "5.0.0",
    "sendmail": "5.3.2",
}

MESSAGE = "From: ann@sender.example\nTo: bob@rcpt.test\nSubject: x\n"
PLAIN = f"{MESSAGE}\nA line.\n"
EIGHT_BIT = (
    f"{MESSAGE}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\nBlåbærsyltetøy.\n"
)
INTERNATIONAL = EIGHT_BIT.replace("Subject: x", "Subject: Blåbærsyltetøy")  # RFC 6532


def assert_bounced(host: MailServer, recipient: str, to: str = "rcpt.test") -> None:
    """At once, as a permanent failure, with our text."""
    fate = host.fate(recipient)
    assert fate.outcome == "bounced at once", fate
    assert_says_why(fate, to)
    assert fate.report
    assert fate.report.status == STATUS[host.package]


def assert_says_why(fate: Fate, to: str) -> None:
    """RFC 3464, 2.3.3 and .4; and the words that a person reads."""
    assert fate.report
    assert fate.report.action == "failed"
    assert re.fullmatch(r"5\.\d+\.\d+", fate.report.status)
    assert re.search(
        rf"521 (5\.3\.2 )?{to} is configured NOT to accept any mail\.", fate.report.text
    )
