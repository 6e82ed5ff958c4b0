"""The platform's certificate authority: it signs the certificate of the agents' listener and two of each host.

EC P-256. A host is known by the URI `spiffe://houyi/host/<id>` in its certificate and by nothing else in it; with that certificate it speaks to the server
and, at both ends, through the doors between hosts. QEMU has another one for moves, with a DNS name only: its key is readable by QEMU's user, so it must open nothing else.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from houyi.base.clock import Clock
from houyi.base.secret_file import write_secret
from houyi.model.errors import Failed, Invalid
from houyi.model.host import HOST_URI, SERVER_URI, move_name
from houyi.model.ids import HostId
from houyi.model.join_token import ca_fingerprint

CA_DAYS = 3650
SERVER_DAYS = 365
"""The server makes itself a new certificate at every start, so this bounds how long one process may run."""
HOST_DAYS = 90
"""Agents renew in the last third; a host that was away longer has to join anew."""
SKEW = timedelta(minutes=5)
"""Certificates are valid from a little before now: hosts' clocks differ."""


@dataclass(frozen=True, slots=True)
class Authority:
    """`Authority.open(folder, clock)` finds it or makes it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    folder: Path
    clock: Clock

    @classmethod
    def open(cls, folder: Path, clock: Clock) -> "Authority":
        """:raise Failed: `ca_damaged`: only one of its files is there, or they do not belong together."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_path, certificate_path = folder / "ca.key", folder / "ca.pem"
        if not certificate_path.exists() and not any(folder.glob("server.*")):
            # The key alone is what a first start leaves that was killed in between: nobody has seen a certificate of it.
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _ca_certificate(key, _now(clock))
            write_secret(key_path, _key_pem(key))
            write_secret(certificate_path, certificate.public_bytes(Encoding.PEM))
        try:
            loaded = load_pem_private_key(key_path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        except (OSError, ValueError) as error:
            raise Failed("ca_damaged", f"the platform's CA in {folder} cannot be read: restore ca.key and ca.pem from a backup ({error})") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
            raise Failed("ca_damaged", f"ca.key and ca.pem in {folder} do not belong together: restore both from one backup")
        return cls(certificate, loaded, folder, clock)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """What a join token carries."""
        return ca_fingerprint(self.certificate.public_bytes(Encoding.DER))

    def issue_server(self, names: Sequence[str]) -> tuple[Path, Path]:
        """A fresh certificate (followed by the CA's) and key for the agents' listener, as files in the CA's folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [*(_general_name(name) for name in names), x509.UniformResourceIdentifier(SERVER_URI)]
        builder = self._builder("houyi server", key.public_key(), SERVER_DAYS, alternatives, [ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = builder.sign(self.key, hashes.SHA256())
        certificate_path, key_path = self.folder / "server.pem", self.folder / "server.key"
        write_secret(key_path, _key_pem(key))
        write_secret(certificate_path, certificate.public_bytes(Encoding.PEM) + self.pem.encode())
        return certificate_path, key_path

    def issue_host(self, host_id: HostId, csr_pem: str) -> str:
        """Sign a host's request, of which only the public key is believed. :raise Invalid: `csr_invalid`."""
        return self._sign(f"houyi host {host_id}", csr_pem, x509.UniformResourceIdentifier(f"{HOST_URI}{host_id}"))

    def issue_move(self, host_id: HostId, csr_pem: str) -> str:
        """Sign the request of a host for QEMU's certificate in moves, the same way. :raise Invalid: `csr_invalid`."""
        return self._sign(f"houyi moves of {host_id}", csr_pem, x509.DNSName(move_name(host_id)))

    def _sign(self, name: str, csr_pem: str, alternative: x509.GeneralName) -> str:
        builder = self._builder(name, check_request(csr_pem), HOST_DAYS, [alternative], [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey, days: int, alternatives: Sequence[x509.GeneralName], uses: Sequence[x509.ObjectIdentifier]
    ) -> x509.CertificateBuilder:
        now = _now(self.clock)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        )


def check_request(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The public key of a host's request. :raise Invalid: `csr_invalid`."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        if not csr.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("bad signature, or not an EC key")
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Invalid("csr_invalid", f"the certificate request is not acceptable: {error}") from None
    return key


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now(), UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name("houyi platform CA"))
        .issuer_name(_name("houyi platform CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
