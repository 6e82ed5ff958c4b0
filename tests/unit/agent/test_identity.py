"""Whom a joining host believes: the holder of a server's certificate of the CA that is named in its token, and nobody else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from houyi.agent.identity import Identity, _check_ca
from houyi.base.clock import SystemClock
from houyi.control.ca import Authority
from houyi.model.errors import Forbidden
from houyi.model.ids import HostId


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "ca", SystemClock())


def server_der(authority: Authority) -> bytes:
    pem, _ = authority.issue_server(("localhost",))
    return x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER)


def test_the_platform_of_the_token_is_believed(authority: Authority) -> None:
    _check_ca(authority.pem, authority.fingerprint, server_der(authority))


def test_another_platform_is_not(authority: Authority, tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other", SystemClock())
    with pytest.raises(Forbidden):
        _check_ca(other.pem, authority.fingerprint, server_der(other))


def test_the_right_ca_in_the_wrong_hands_is_not(authority: Authority, tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other", SystemClock())
    with pytest.raises(Forbidden):
        _check_ca(authority.pem, authority.fingerprint, server_der(other))


@pytest.mark.parametrize("issue", [Authority.issue_host, Authority.issue_move])
def test_a_host_cannot_pass_for_the_server(authority: Authority, tmp_path: Path, issue: Callable[[Authority, HostId, str], str]) -> None:
    certificate = issue(authority, HostId("h"), Identity(tmp_path / "host").request())
    with pytest.raises(Forbidden):
        _check_ca(authority.pem, authority.fingerprint, x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER))


def test_qemus_certificate_names_no_host(authority: Authority, tmp_path: Path) -> None:
    """Its key is readable by QEMU's user: it must not open the link or a door."""
    certificate = x509.load_pem_x509_certificate(authority.issue_move(HostId("h"), Identity(tmp_path / "host").request()).encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("h.hosts.houyi")]


def test_a_certificate_for_one_end_only_is_renewed_at_once(authority: Authority, tmp_path: Path) -> None:
    identity = Identity(tmp_path / "host")
    identity.pair.keep(authority.issue_host(HostId("h"), identity.request()))
    assert identity.renew_at() > SystemClock().now()
    pem, _ = authority.issue_server(("h",))
    identity.pair.keep(pem.read_text())
    assert identity.renew_at() == 0.0


def test_the_key_stays_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    identity = Identity(tmp_path / "host")
    first, key = identity.request(), identity.key_path.read_bytes()
    assert identity.key_path.stat().st_mode & 0o777 == 0o600
    assert first != ""
    identity.request()
    assert identity.key_path.read_bytes() == key
    assert not identity.joined
