"""What senders do that are told to verify certificates, with one that is self-signed."""

import re
from pathlib import Path

import pytest
from helpers.versions import covering
from lab import RefusingHost, package_of
from mtas import PLAIN, SENDERS, MailServer

from null521.check.advice import VERIFIERS

TEMPLATE = "/etc/exim4/exim4.conf.template"
# By package: bash that tells it to verify, and a pattern of what its log says of the certificate.
VERIFY = {
    "postfix": ("postconf smtp_tls_security_level=verify", "Server certificate not verified"),
    # Debian has no macro for two of these options.
    "exim4-daemon-light": (
        r"sed -i '/^remote_smtp:/,/driver = smtp/ s/driver = smtp/&\n  hosts_require_tls = *\n"
        rf"  tls_verify_hosts = *\n  tls_verify_certificates = system/' {TEMPLATE}",
        "certificate invalid",
    ),
    "opensmtpd": (
        "sed -i 's/^action \"relay\" relay$/& tls/' /etc/smtpd.conf",
        "certificate (check|verification) failed",
    ),
    "sendmail": (
        "echo 'TLS_Srv: VERIFY' >>/etc/mail/access\n"
        "makemap hash /etc/mail/access </etc/mail/access",
        "454 4.7.0 authentication failed",
    ),
}


@pytest.mark.parametrize("layer", SENDERS)
def test_the_mail_is_queued(layer: str, launcher: Path, tmp_path: Path) -> None:
    """As null521 check says."""
    verify, reason = VERIFY[package_of(layer)]
    with RefusingHost(tmp_path / "refusing", launcher) as refusing:
        host = MailServer(tmp_path / "host", refusing, layer, insists_on_tls=True)
        host.mta = host.mta._replace(insist=verify)
        with host:
            assert host.submit(PLAIN, "first@tls.test") == ""
            fate = host.fate("first@tls.test")
            log = host.log_text()
            version = f"{host.mta.name} {host.version()}"
    assert fate.outcome == "deferred"
    assert re.search(reason, log), log
    assert len(covering(version, VERIFIERS)) == 1
