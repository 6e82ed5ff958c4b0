"""What of a lab needs no namespaces: its record, the rules of its cuts, what a host's folders hold, the way through to the API."""

import asyncio
import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from houyi.local.lab.cables import ALL, ruleset
from houyi.local.lab.forward import pass_on
from houyi.local.lab.furnish import furnish, orders, visible
from houyi.local.lab.layout import SERVER, HostRecord, LabFolder, LabRecord, with_hosts
from houyi.local.lab.up import lab_settings
from houyi.local.lab.words import Answer, LabStatus, outcome, refusal
from houyi.model.errors import Conflict, Failed, Invalid, NotFound

RECORD = LabRecord(id="8a672dd0-264c-4c99-954d-429739a23495", api_port=7490, hosts=())


def test_a_lab_grows_and_keeps_what_it_has() -> None:
    three = with_hosts(RECORD, 3, 1024)
    assert [host.name for host in three.hosts] == ["h1", "h2", "h3"]
    assert [host.address for host in three.hosts] == ["10.93.0.11", "10.93.0.12", "10.93.0.13"]
    five = with_hosts(three, 5, 2048)
    assert five.hosts[:3] == three.hosts
    assert {host.memory_mib for host in five.hosts[3:]} == {2048}
    assert with_hosts(five, 0, 512) == five
    with pytest.raises(Conflict, match="does not shrink"):
        with_hosts(five, 4, 1024)
    with pytest.raises(Invalid, match="at most"):
        with_hosts(five, 65, 1024)


def test_hosts_of_different_labs_have_different_uuids() -> None:
    host = HostRecord(number=1, memory_mib=1)
    other = LabRecord(id="8a672dd0-264c-4c99-954d-429739a23496", api_port=1, hosts=())
    assert len({RECORD.host_uuid(host), other.host_uuid(host), RECORD.host_uuid(HostRecord(number=2, memory_mib=1))}) == 3


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = LabFolder.of(tmp_path, "one")
    assert folder.read() is None
    folder.path.mkdir()
    folder.write(with_hosts(RECORD, 2, 1024))
    assert folder.read() == with_hosts(RECORD, 2, 1024)
    folder.record_file.write_text("{")
    with pytest.raises(Failed, match="lab down"):
        folder.read()


@pytest.mark.parametrize(("name", "code"), [("../x", "name_invalid"), ("a" * 60, "path_too_long")])
def test_a_lab_whose_folder_cannot_be(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        LabFolder.of(tmp_path / ("b" * 40), name)
    assert caught.value.code == code


def drops(*cuts: frozenset[str]) -> list[tuple[str, ...]]:
    """(chain, interface, ...) of each rule that drops."""
    found = []
    for each in ruleset(cuts)["nftables"]:
        rule = each.get("add", {}).get("rule")
        if rule:
            *matches, last = rule["expr"]
            assert last == {"drop": None}
            found.append((rule["chain"], *(f"{m['match']['left']['meta']['key']}={m['match']['right']}" for m in matches)))
    return found


def test_a_cut_drops_both_directions_and_nothing_else() -> None:
    assert drops() == []
    assert drops(frozenset(("h1", "h2"))) == [("forward", "iifname=h1", "oifname=h2"), ("forward", "iifname=h2", "oifname=h1")]
    assert drops(frozenset(("h1", SERVER))) == [("input", "iifname=h1"), ("output", "oifname=h1")]
    assert drops(frozenset(("h1", ALL))) == [("input", "iifname=h1"), ("output", "oifname=h1"), ("forward", "iifname=h1"), ("forward", "oifname=h1")]
    assert len(drops(frozenset(("h1", ALL)), frozenset(("h2", "h3")))) == 6


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft")
def test_nft_understands_the_rules() -> None:
    text = json.dumps(ruleset([frozenset(("h1", "h2")), frozenset(("h1", SERVER)), frozenset(("h3", ALL))]))
    done = subprocess.run(["nft", "--json", "--check", "--file", "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr


def test_a_host_has_its_own_configuration(tmp_path: Path) -> None:
    lab, record = LabFolder.of(tmp_path, "one"), with_hosts(RECORD, 2, 1024)
    for host in record.hosts:
        furnish(lab, record, host)
    first, second = (lab.host(host.name) for host in record.hosts)
    (first.etc / "kept").write_text("by somebody on the host")
    furnish(lab, record, record.hosts[0])
    assert (first.etc / "kept").exists()
    assert (first.etc / "machine-id").read_text() != (second.etc / "machine-id").read_text()
    assert f'host_uuid = "{record.host_uuid(record.hosts[0])}"' in (first.etc / "libvirt/libvirtd.conf").read_text()
    assert 'shared_filesystems = ["/var/lib/shared"]' in (first.etc / "libvirt/qemu.conf").read_text()
    assert "10.93.0.12 h2" in (first.etc / "hosts").read_text()
    assert (first.var / "run").readlink() == Path("/run")
    assert not (first.etc / "shadow").exists()
    targets = [bind.target for bind in orders(lab, record.hosts[0], kvm=False).binds]
    assert targets[-3:] == ["/run", "/etc", "/var"]
    assert targets[0] == str(first.path / "var/lib/shared")


def test_python_stays_visible_where_a_host_has_folders_of_its_own() -> None:
    assert visible("/usr/lib/python3", "/var/opt/venv", "/var/opt/venv", "/run/x") == (Path("/var/opt/venv"), Path("/run/x"))


def test_settings_of_the_machine_stay_there() -> None:
    given = {"HOUYI_AGENT__TCG_TB_SIZE_MIB": "16", "HOUYI_STATE_DIR": "/s", "HOUYI_CONFIG": "/c", "HOUYI_API_TOKEN": "t", "HOUYI_LAB_DIR": "/l", "PATH": "/bin"}
    assert lab_settings(given) == {"HOUYI_AGENT__TCG_TB_SIZE_MIB": "16"}


def test_an_error_of_the_keeper_is_the_same_at_the_command() -> None:
    with pytest.raises(NotFound, match="no host") as caught:
        outcome(refusal(NotFound("lab_host_not_found", "there is no host h9")))
    assert caught.value.code == "lab_host_not_found"
    status = LabStatus(name="one", up=True, server=True, url="u", shared="s")
    assert outcome(Answer(status=status)) is status


async def test_the_api_is_reached_through_the_keeper() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())  # until its end: the direction that is closed is passed on
        writer.close()

    behind = await asyncio.start_server(echo, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    passing = asyncio.create_task(pass_on(listening, "127.0.0.1", behind.sockets[0].getsockname()[1]))
    sent = bytes(range(256)) * 4096
    for _ in range(2):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        writer.close()
        await writer.wait_closed()
    behind.close()
    await behind.wait_closed()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
