"""Certificates and keys, and what stands in a certificate, without a process.

It knows X.509 by way of the library cryptography, and nothing of null521.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

KINDS = ("ec", "rsa", "ed25519")


def make(folder: Path, kind: str = "ec", *options: str, password: str = "") -> tuple[str, str]:
    """A self-signed pair as PEM files; the paths of certificate and key.

    options: "-days", "20", as `openssl req` has it: it expires that many days from now, 30 by
    default, and has been valid since ten days ago. password: encrypts the key.
    """
    known = dict(zip(options[::2], options[1::2], strict=True))
    days = int(known.pop("-days", "30"))
    assert not known, known
    key = _new(kind)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "h.example")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
    )
    # Ed25519 has a hash of its own: RFC 8410.
    signed = builder.sign(key, None if kind == "ed25519" else hashes.SHA256())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(signed.public_bytes(pem))
    key_path.write_bytes(key.private_bytes(pem, pkcs8, encryption))
    return str(cert_path), str(key_path)


def _new(kind: str) -> Key:
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    assert kind == "ed25519"
    return ed25519.Ed25519PrivateKey.generate()


def dates(cert: str) -> tuple[str, str]:
    """When a certificate begins and ends to be valid, as YYYYMMDDHHMMSSZ in UTC."""
    found = x509.load_pem_x509_certificate(Path(cert).read_bytes())
    before, after = found.not_valid_before_utc, found.not_valid_after_utc
    return f"{before:%Y%m%d%H%M%SZ}", f"{after:%Y%m%d%H%M%SZ}"


openssl_dates = dates
