"""What of a lab's machine needs no QEMU: its words, its record, what it is told, its monitor, and what its builds are kept by."""

import asyncio
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from houyi.local.lab.layout import LabRecord, with_hosts, with_machine
from houyi.local.lab.machine import image, software
from houyi.local.lab.machine.image import MachineImage
from houyi.local.lab.machine.monitor import Monitor
from houyi.local.lab.machine.words import CABLE, LEASH, LEASH_THERE, MONITOR, PLACE, SOFTWARE_PORT, Told, qemu_words, ssh_words
from houyi.model.errors import Failed, Unavailable

RECORD = LabRecord(id="8a672dd0-264c-4c99-954d-429739a23495", api_port=7490, hosts=())
FILES = Path(image.RECIPE).with_name("machine_files")
TOLD = Told(
    time=1.5,
    boot_id="b",
    name="m1",
    uuid="8a672dd0-264c-4c99-954d-429739a23495",
    mac="02:00:0a:5d:00:01",
    address="10.93.0.11/24",
    route="10.94.0.0/16",
    hosts=("10.93.0.1 server", "10.93.0.11 m1"),
    paths=("/opt/venv", "/srv/src"),
    join_token="secret",
    environment=(("HOUYI_AGENT__HOST_NAME", "m1"), ("PYTHON", "/opt/venv/bin/python")),
)


def test_a_lab_has_hosts_and_at_most_one_machine() -> None:
    alone = with_machine(RECORD, "/cache/machine-1", 3072)
    assert [host.name for host in alone.hosts] == ["m1"]
    assert with_machine(alone, "/cache/machine-2", 1024) == alone
    grown = with_hosts(alone, 2, 1024)
    assert [(host.name, host.memory_mib, host.machine) for host in grown.hosts] == [("m1", 3072, "/cache/machine-1"), ("h2", 1024, ""), ("h3", 1024, "")]
    assert len({host.address for host in grown.hosts}) == 3
    assert with_hosts(grown, 0, 1) == grown
    assert [host.name for host in with_machine(with_hosts(RECORD, 1, 1), "/x", 1).hosts] == ["h1", "m2"]


def test_the_machine_has_what_a_hypervisor_host_needs() -> None:
    words = qemu_words(2048)
    text = " ".join(words)
    assert words[words.index("-m") + 1] == "2048"
    assert "kernel-irqchip=off" in text
    assert "intel-iommu,intremap=on" in text
    assert text.count("pcie-root-port") == 6
    assert f"id={SOFTWARE_PORT}" in text
    for interface in (CABLE, LEASH):
        assert f"ifname={interface},script=no,downscript=no" in text
    assert f"unix:{MONITOR},server=on,wait=off" in words
    assert all(str(PLACE) in text for _ in ("vmlinuz", "initrd.img", "disk.qcow2"))


def test_the_cards_are_those_that_the_system_looks_for() -> None:
    words = " ".join(qemu_words(1024))
    for name in ("init", "up"):
        mac = next(line for line in (FILES / name).read_text().splitlines() if "52:54:00:93:00:0" in line).split("=")[1].split("]")[0].strip()
        assert f"mac={mac}" in words
    assert f"{LEASH_THERE}/30" in (FILES / "init").read_text()


@pytest.mark.parametrize("command", ["virsh list", "echo 'a b' | wc -c"])
def test_a_command_is_one_word_for_ssh(command: str) -> None:
    words = ssh_words(command)
    assert words[-2:] == ("--", command)
    assert "StrictHostKeyChecking=yes" in words
    assert "-t" not in words


def test_a_shell_has_a_terminal() -> None:
    words = ssh_words("", terminal=True)
    assert words[-1] == f"root@{LEASH_THERE}"
    assert "-t" in words


def test_what_it_is_told_is_all_that_its_script_knows() -> None:
    lines = dict(line.split("=", 1) for line in TOLD.text().splitlines())
    assert lines["JOIN"] == "secret"
    assert lines["PATHS"] == "/opt/venv /srv/src"
    script = (FILES / "up").read_text()
    assert all(f"\n    {name})" in script or name.startswith(("HOUYI_", "PYTHON")) for name in lines), lines
    assert "JOIN=" not in replace(TOLD, join_token="").text()


def test_values_of_the_environment_pass_a_shell_unharmed() -> None:
    from houyi.local.lab.machine.life import _quoted

    assert [shlex.split(value) for _, value in _quoted({"HOUYI_X": "a 'b' $(c)", "HOUYI_Y": "1"})] == [["a 'b' $(c)"], ["1"]]


def test_a_snapshot_is_of_one_machine_and_one_qemu(tmp_path: Path) -> None:
    found = MachineImage(tmp_path)
    paths = {found.snapshot(words, version) for words in (("a", "b"), ("ab",)) for version in ("10.0", "10.1")}
    assert len(paths) == 4
    assert found.snapshot(("a", "b"), "10.0") in paths


def test_another_recipe_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.recipe()
    assert before == image.recipe()
    other = tmp_path / "machine.py"
    other.write_text("# another\n")
    (tmp_path / "machine_files").mkdir()
    monkeypatch.setattr(image, "RECIPE", other)
    assert image.recipe() != before


def test_the_software_is_this_pythons_and_this_houyis() -> None:
    found = software.paths()
    assert any(Path(image.__file__).resolve().is_relative_to(path) for path in found)
    assert not any(one != other and Path(one).is_relative_to(other) for one in found for other in found)
    assert "/usr" not in found


class FakeQemu:
    """Speaks QMP: one event before each answer."""

    def __init__(self, path: Path) -> None:
        self.path, self.heard = path, list[dict[str, object]]()

    async def __aenter__(self) -> "FakeQemu":
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"QMP": {}}\n')
        while line := await reader.readline():
            asked = json.loads(line)
            self.heard.append(asked)
            if asked["execute"] == "quit":
                break
            said = {"error": {"desc": "no such thing"}} if asked["execute"] == "odd" else {"return": asked["arguments"].get("command-line", "")}
            writer.write(b'{"event": "RESUME"}\n' + json.dumps(said).encode() + b"\n")
        writer.close()


async def test_the_monitor_asks_and_hears(tmp_path: Path) -> None:
    async with FakeQemu(tmp_path / "qmp") as qemu, Monitor(qemu.path) as monitor:
        assert await monitor.ask("human-monitor-command", command_line="x") == "x"
        await monitor.tell("")
        with pytest.raises(Failed, match="no such thing"):
            await monitor.ask("odd")
        with pytest.raises(Failed, match="QEMU refused savevm: savevm ready"):
            await monitor.tell("savevm ready")
        with pytest.raises(Unavailable, match="QEMU ended"):
            await monitor.ask("quit")
        assert qemu.heard[0] == {"execute": "qmp_capabilities", "arguments": {}}


async def test_a_monitor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        async with Monitor(tmp_path / "qmp"):
            pass
