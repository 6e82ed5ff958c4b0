"""Who this host is: its key (made here, never sent), its certificate, and the CA that both ends trust; and how it gets them with a join token."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import websockets
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from websockets.asyncio.client import ClientConnection, connect

from houyi.agent.keypair import KeyPair, uris
from houyi.base.secret_file import write_secret
from houyi.model.errors import Failed, Forbidden, HouyiError, Unavailable
from houyi.model.host import HOST_URI, SERVER_URI
from houyi.model.ids import HostId
from houyi.model.join_token import JoinTokenText, ca_fingerprint
from houyi.wire.agents import MAX_MESSAGE_BYTES, PROTOCOL, Down, JoinAsk, JoinCa, JoinDone, JoinHello, Message, Refused, decode_down, encode

T = TypeVar("T", bound=Message)


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of a host that has joined, in one folder (mode 0700)."""

    folder: Path

    @property
    def pair(self) -> KeyPair:
        return KeyPair(self.folder, "host")

    @property
    def key_path(self) -> Path:
        return self.pair.key_path

    @property
    def certificate_path(self) -> Path:
        return self.pair.certificate_path

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def joined(self) -> bool:
        return all(path.exists() for path in (self.key_path, self.certificate_path, self.ca_path))

    @property
    def joined_with(self) -> str:
        """The id of the join token that it joined with last; '' if it never did."""
        return self._token_path.read_text().strip() if self._token_path.exists() else ""

    @property
    def _token_path(self) -> Path:
        return self.folder / "joined-with"

    def host_id(self) -> HostId:
        return HostId(uris(self.pair.certificate())[0].removeprefix(HOST_URI))

    def renew_at(self) -> float:
        """When the last third of the certificate's life begins, Unix seconds."""
        return self.pair.renew_at()

    def context(self) -> ssl.SSLContext:
        """Mutual TLS 1.3 with our certificate, trusting the platform's CA and no other. :raise Failed: `identity_damaged`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.ca_path)
            context.load_cert_chain(self.certificate_path, self.key_path)
        except (OSError, ssl.SSLError) as error:
            raise Failed("identity_damaged", f"the host's certificate in {self.folder} cannot be used: join again ({error})") from error
        return context

    def request(self) -> str:
        """A signing request for our key, which is made when there is none yet."""
        return self.pair.request()

    def renew(self, pem: str) -> None:
        """Keep the next certificate. :raise Failed: `certificate_unusable`: it is not for this host and its key, or not of our CA; the old one stays."""
        mine = uris(self.pair.certificate())
        self.pair.renew(pem, self.ca_path.read_text(), lambda new: uris(new) == mine)

    def keep_membership(self, certificate_pem: str, ca_pem: str, token_id: str) -> None:
        """What joining has brought; in place of an earlier membership, if any."""
        write_secret(self.ca_path, ca_pem.encode())
        self.pair.keep(certificate_pem)
        write_secret(self._token_path, token_id.encode())


async def join(identity: Identity, host: str, port: int, token: JoinTokenText, name: str) -> HostId:
    """Become a host of the platform.

    The server proves with its CA that it is the one that made the token, before the token's secret is shown.
    :raise Unavailable: `server_unreachable`. :raise Forbidden: `ca_differs`, or what the server refuses with. :raise Failed: `join_failed`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # verified below, against the fingerprint in the token
    try:
        async with connect(f"wss://{host}:{port}/join", ssl=context, max_size=MAX_MESSAGE_BYTES, proxy=None) as link:
            await link.send(encode(JoinHello(protocol=PROTOCOL)))
            hello = await _receive(link, JoinCa)
            leaf = link.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            _check_ca(hello.ca_pem, token.ca_fingerprint, leaf)
            await link.send(encode(JoinAsk(token_id=token.id, secret=token.secret, name=name, csr_pem=identity.request())))
            done = await _receive(link, JoinDone)
    except (OSError, websockets.WebSocketException, TimeoutError) as error:
        raise Unavailable("server_unreachable", f"the agents' listener at {host}:{port} does not answer: {error}") from error
    identity.keep_membership(done.certificate_pem, done.ca_pem, token.id)
    return done.host_id


async def _receive(link: ClientConnection, kind: type[T]) -> T:
    try:
        message: Down = decode_down(await link.recv(decode=False))
    except msgspec.DecodeError as error:
        raise Failed("join_failed", "the server's answer cannot be read: are both of the same version?") from error
    if isinstance(message, Refused):
        raise refusal(message)
    if not isinstance(message, kind):
        raise Failed("join_failed", f"the server answered with {type(message).__name__}")
    return message


def refusal(message: Refused) -> HouyiError:
    """The error that a Refused stands for."""
    return Forbidden(message.problem.code, message.problem.detail)


def _check_ca(ca_pem: str, wanted: str, leaf_der: bytes) -> None:
    error = Forbidden("ca_differs", "the server is not the one that made this join token: check the address, and make a new token there")
    try:
        ca = x509.load_pem_x509_certificate(ca_pem.encode())
        if ca_fingerprint(ca.public_bytes(Encoding.DER)) != wanted:
            raise error
        leaf = x509.load_der_x509_certificate(leaf_der)
        leaf.verify_directly_issued_by(ca)
        if SERVER_URI not in uris(leaf):  # hosts have certificates of the same CA: none of them may pass for the server
            raise error
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        raise error from None
