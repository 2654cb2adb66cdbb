"""A client of TLS that says what Python's ssl cannot: octets for after STARTTLS, and no sockets.

ssl makes the handshake, and writes its secrets into a key log (ssl.SSLContext.keylog_filename). By
these, what comes after the handshake is encrypted here, whatever it is. It knows RFC 8446 and RFC
5246, and nothing of null521.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from itertools import pairwise

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# Kinds of records, RFC 8446, 5.1, and of handshake messages, 4.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
HELLO_REQUEST, CLIENT_HELLO, CERTIFICATE, KEY_UPDATE = 0, 1, 11, 24
MAX_CLAIM = 131_396  # what OpenSSL takes a ClientHello to be at most
X25519, P256 = 0x001D, 0x0017

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)

CLOSE_NOTIFY = b"\x01\x00"
# After TLS 1.2 is up: one octet, which is no cipher text. OpenSSL has no reason for that error.
SHORT_RECORD = bytes.fromhex("17 0303 0001 00")


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    """One record in clear."""
    return bytes([kind]) + version.to_bytes(2) + len(body).to_bytes(2) + body


def message(kind: int, body: bytes, claimed: int | None = None) -> bytes:
    """One message of a handshake, which claims to be of that many octets."""
    return bytes([kind]) + (len(body) if claimed is None else claimed).to_bytes(3) + body


def fragments(octets: bytes, size: int) -> bytes:
    """The same message in records of that many octets."""
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
    return b"".join(record(HANDSHAKE, piece, 0x0301) for piece in pieces)


# A header that claims as much as it can, in a record that is whole.
CLAIM = record(HANDSHAKE, message(CLIENT_HELLO, b"", MAX_CLAIM), 0x0301)


def client_hello(shares: bytes = b"", padding: int = 0) -> bytes:
    """A ClientHello of TLS 1.3; without key shares, it is answered by a HelloRetryRequest.

    padding: octets of an extension that says nothing (RFC 7685).
    """

    def extension(kind: int, body: bytes) -> bytes:
        return kind.to_bytes(2) + len(body).to_bytes(2) + body

    def vector(body: bytes) -> bytes:
        return len(body).to_bytes(2) + body

    extensions = (
        extension(43, bytes.fromhex("02 0304"))
        + extension(10, vector(X25519.to_bytes(2) + P256.to_bytes(2)))
        + extension(13, vector(bytes.fromhex("0403 0804 0401 0807")))
        + extension(51, vector(shares))
        + extension(21, bytes(padding))
    )
    ciphers = vector(bytes.fromhex("1301 1302 1303"))
    return message(
        CLIENT_HELLO,
        b"\x03\x03" + bytes(range(32)) + b"\x20" + bytes(range(32))
        + ciphers + b"\x01\x00" + vector(extensions),
    )  # fmt: skip


def cut(octets: bytes, *places: int) -> Iterator[bytes]:
    """The octets in pieces."""
    edges = [0, *sorted(min(place, len(octets)) for place in places), len(octets)]
    for start, end in pairwise(edges):
        yield octets[start:end]


class Contexts:
    """What all clients have in common: a context for each version, and the key log."""

    def __init__(self) -> None:
        fd, self._path = tempfile.mkstemp(prefix="null521-keys-")
        os.close(fd)
        self._contexts = {version: self._context(version) for version in VERSIONS}

    def _context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        made.minimum_version = made.maximum_version = version
        made.set_ciphers("ECDHE+AESGCM+AES128")
        made.set_ecdh_curve("prime256v1")  # a post-quantum share is long
        made.keylog_filename = self._path
        return made

    def peer(self, version: ssl.TLSVersion) -> "Peer":
        """A new client of that version."""
        return Peer(self, version, self._contexts[version])

    def secrets(self, random: bytes) -> dict[str, bytes]:
        """Of the connection whose ClientHello has this random; those of others are forgotten."""
        with open(self._path, "r+") as file:
            lines = [line.split() for line in file if line.startswith(("CLIENT", "SERVER"))]
            file.truncate(0)
        return {name: bytes.fromhex(key) for name, of, key in lines if of == random.hex()}

    def close(self) -> None:
        os.unlink(self._path)


class Peer:
    """One client: first hello(), then receive() what the server says and send on what it returns.

    Once it is up, encrypted() makes records, whatever is in them.
    """

    def __init__(
        self, contexts: Contexts, version: ssl.TLSVersion, context: ssl.SSLContext
    ) -> None:
        self.version = version
        self.is_up = False
        self._contexts = contexts
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="h.example")
        self._hello = self._told = self._secret = b""
        self._sequence = 0

    def hello(self) -> bytes:
        """The ClientHello, in its record."""
        self._hello = self._shake_hands()
        return self._hello

    def receive(self, octets: bytes) -> bytes:
        """What ssl would say next."""
        self._incoming.write(octets)
        if self.is_up:
            return b""
        self._told += octets
        return self._shake_hands()

    def read(self) -> bytes:
        """What the server has said, as far as it has come."""
        words = b""
        try:
            while piece := self._tls.read():
                words += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return words

    def _shake_hands(self) -> bytes:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        self.is_up = True
        random = self._hello[11:43]  # behind two headers and a version
        secrets = self._contexts.secrets(random)
        if self.version == TLS_1_3:
            self._use(secrets["CLIENT_TRAFFIC_SECRET_0"])
        else:
            # Keys without a MAC: RFC 5288. Finished has been number 0.
            master = secrets["CLIENT_RANDOM"]
            block = _prf(master, b"key expansion", self._told[11:43] + random, 40)
            self._key, self._iv, self._sequence = AESGCM(block[:16]), block[32:36], 1
        return self._outgoing.read()

    def _use(self, secret: bytes) -> None:
        """RFC 8446, 7.3."""
        self._secret, self._sequence = secret, 0
        length = 16 if self._hash().digest_size == 32 else 32
        self._key = AESGCM(self._expand(b"key", length))
        self._iv = self._expand(b"iv", 12)

    def _hash(self) -> hashes.HashAlgorithm:
        cipher = self._tls.cipher()
        return hashes.SHA384() if cipher and cipher[0].endswith("384") else hashes.SHA256()

    def _expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label: RFC 8446, 7.1."""
        label = b"tls13 " + label
        info = length.to_bytes(2) + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(self._hash(), length, info).derive(self._secret)

    def encrypted(self, kind: int, body: bytes) -> bytes:
        """One record, as the server can read it."""
        number = self._sequence.to_bytes(8)
        self._sequence += 1
        if self.version == TLS_1_3:
            text = body + bytes([kind])
            header = bytes([DATA, 3, 3]) + (len(text) + 16).to_bytes(2)
            nonce = bytes(a ^ b for a, b in zip(self._iv, bytes(4) + number, strict=True))
            return header + self._key.encrypt(nonce, text, header)
        header = bytes([kind, 3, 3])
        text = self._key.encrypt(self._iv + number, body, number + header + len(body).to_bytes(2))
        return header + (8 + len(text)).to_bytes(2) + number + text

    def says(self, words: bytes) -> bytes:
        """What is said under TLS, in one record."""
        return self.encrypted(DATA, words)

    def key_update(self, ask: bool = True) -> bytes:
        """A KeyUpdate (RFC 8446, 4.6.3) in one record; what follows has the new key."""
        octets = self.encrypted(HANDSHAKE, message(KEY_UPDATE, bytes([ask])))
        self.has_updated()
        return octets

    def key_update_in_two(self) -> tuple[bytes, bytes]:
        """The same in two records, the first of which ends in the middle of the message."""
        whole = message(KEY_UPDATE, b"\1")
        first, second = (self.encrypted(HANDSHAKE, part) for part in (whole[:4], whole[4:]))
        self.has_updated()
        return first, second

    def has_updated(self) -> None:
        """Use the key after this one."""
        self._use(self._expand(b"traffic upd", self._hash().digest_size))


def _prf(secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """P_SHA256: RFC 5246, 5."""

    def hashed(octets: bytes) -> bytes:
        made = hmac.HMAC(secret, hashes.SHA256())
        made.update(octets)
        return made.finalize()

    found, a = b"", label + seed
    while len(found) < length:
        a = hashed(a)
        found += hashed(a + label + seed)
    return found[:length]
