"""A key that is made here and never leaves, and the certificate that the platform's CA gave for it: two files beside each other."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from houyi.base.secret_file import write_secret
from houyi.model.errors import Failed


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`<stem>.key` and `<stem>.pem` in a folder of mode 0700."""

    folder: Path
    stem: str

    @property
    def key_path(self) -> Path:
        return self.folder / f"{self.stem}.key"

    @property
    def certificate_path(self) -> Path:
        return self.folder / f"{self.stem}.pem"

    def certificate(self) -> x509.Certificate:
        """:raise OSError: there is none. :raise ValueError: it is damaged."""
        return x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

    def renew_at(self) -> float:
        """When the last third of the certificate's life begins, Unix seconds; 0 where there is none that can be used at both ends of a connection."""
        try:
            certificate = self.certificate()
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            return 0.0
        if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} <= set(uses):
            return 0.0
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return (end - (end - begin) / 3).timestamp()

    def request(self) -> str:
        """A signing request for the key, which is made when there is none yet. :raise Failed: `identity_damaged`."""
        key = load_pem_private_key(self._key_pem(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Failed("identity_damaged", f"{self.key_path} is not an EC key: remove it and join again")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "houyi host")])
        return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def renew(self, pem: str, ca_pem: str, is_ours: Callable[[x509.Certificate], bool]) -> None:
        """Keep the next certificate. :raise Failed: `certificate_unusable`: it is not for our key, not of our CA, or not `is_ours`; the old one stays."""
        right = False
        with contextlib.suppress(ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            new = x509.load_pem_x509_certificate(pem.encode())
            new.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
            key = load_pem_private_key(self.key_path.read_bytes(), None)
            right = new.public_key() == key.public_key() and is_ours(new)
        if not right:
            raise Failed("certificate_unusable", "the server sent a certificate that is not for this host: it is not kept; look at the server's log")
        self.keep(pem)

    def keep(self, pem: str) -> None:
        write_secret(self.certificate_path, pem.encode())

    def _key_pem(self) -> bytes:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.key_path.exists():
            new = ec.generate_private_key(ec.SECP256R1())
            write_secret(self.key_path, new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return self.key_path.read_bytes()


def uris(certificate: x509.Certificate) -> list[str]:
    """:raise x509.ExtensionNotFound: it has no alternative names."""
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)


def dns_names(certificate: x509.Certificate) -> list[str]:
    """:raise x509.ExtensionNotFound: it has no alternative names."""
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
