"""The SDK and the command line against the real API, the real agent and a simulated machine."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from house.tree import ROOT
from houyi.cli.app import build_app
from houyi.cli.run import run_app
from houyi.model.errors import Conflict, Failed, Forbidden, Invalid, NoCapacity, NotFound, Stale, Unauthenticated, Unavailable
from houyi.model.image import DiskFormat, ImageState
from houyi.model.operation import OperationState
from houyi.model.vm import EffectiveState
from houyi.sdk import AsyncClient, Client
from houyi.wire.v1.host import HostUpdate
from houyi.wire.v1.image import ImageCreate, ImageUpdate
from houyi.wire.v1.join_token import JoinTokenCreate
from houyi.wire.v1.network import NetworkCreate
from houyi.wire.v1.operation import Operation
from houyi.wire.v1.project import ProjectCreate
from houyi.wire.v1.ssh_key import SshKeyCreate
from houyi.wire.v1.token import TokenCreate
from houyi.wire.v1.vm import NicCreate, VmCreate, VmUpdate
from houyi.wire.v1.vm_type import VmTypeCreate, VmTypeUpdate
from sim.public import Public, public_platform
from sim.whole import CONTENT

PROGRAM = "import sys; from houyi.cli.app import build_app; from houyi.cli.run import run_app; sys.exit(run_app(build_app()))"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx7wBbGIi0dbB9Qp7ifpBXjT4CDQGgmn5Jc6aYhI4rf someone@example"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Public]:
    with public_platform(tmp_path_factory.mktemp("public")) as platform:
        yield platform


@pytest.fixture
def client(public: Public) -> Iterator[Client]:
    with Client(public.url, public.token) as client:
        yield client


def small(name: str, **more: Any) -> VmCreate:
    return VmCreate(name=name, image="disk", type="t1.nano", **more)


def test_a_vms_life(client: Client) -> None:
    assert client.vms.rehearse(small("life")).host_name == "node1"
    seen: list[Operation] = []
    done = client.operations.wait(client.vms.create(small("life", labels={"a": "1"}, nics=[NicCreate(address="10.80.0.77")])), on_progress=seen.append)
    assert done.state is OperationState.DONE
    assert seen[-1].progress == 1.0
    vm = client.vms.show("life")
    assert (vm.state, vm.nics[0].address, vm.host_name) == (EffectiveState.RUNNING, "10.80.0.77", "node1")
    for verb, state in (
        (client.vms.pause, EffectiveState.PAUSED),
        (client.vms.resume, EffectiveState.RUNNING),
        (client.vms.reboot, EffectiveState.RUNNING),
        (client.vms.reset, EffectiveState.RUNNING),
        (client.vms.stop, EffectiveState.STOPPED),
        (client.vms.start, EffectiveState.RUNNING),
    ):
        client.operations.wait(verb("life"))
        assert client.vms.show("life").state is state
    client.operations.wait(client.vms.stop("life", force=True))
    changed = client.vms.update("life", VmUpdate(name="other", protected=True, labels={"b": "2"}))
    assert (changed.name, changed.protected, changed.labels) == ("other", True, {"b": "2"})
    with pytest.raises(Stale):
        client.vms.update("other", VmUpdate(name="third"), revision=1)
    with pytest.raises(Conflict) as protected:
        client.vms.delete("other")
    assert protected.value.code == "vm_protected"
    client.vms.update("other", VmUpdate(protected=False))
    client.operations.wait(client.vms.delete("other"))
    with pytest.raises(NotFound):
        client.vms.show("other")


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_the_documentation_run(public: Public, tmp_path: Path, number: int) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "SDK.md").read_text(), re.DOTALL)[number].replace('"tiny"', '"disk"')
    done = subprocess.run([sys.executable, "-c", example], env=environment(public, tmp_path), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert number or "running 10.80.0." in done.stdout


def test_refusals_are_errors_with_what_they_carry(client: Client, public: Public) -> None:
    with pytest.raises(NoCapacity) as full:
        client.vms.create(VmCreate(name="huge", image="disk", vcpus=1, memory_mib=1 << 20))
    assert full.value.extra["asked"]["memory_mib"] >= 1 << 20
    with pytest.raises(Invalid, match="RFC 1123"):
        client.vms.create(small("Not A Name"))
    with pytest.raises(Unauthenticated), Client(public.url, "hy_wrong") as stranger:
        stranger.whoami()
    with Client(public.url, public.member) as member:
        assert member.whoami().role == "member"
        with pytest.raises(Forbidden):
            member.projects.create(ProjectCreate(name="mine"))
    with pytest.raises(Unavailable), Client("http://127.0.0.1:9", "x") as nowhere:
        nowhere.whoami()
    with pytest.raises(Invalid):
        Client("ftp://x", "y")


def test_every_other_noun(client: Client) -> None:
    assert client.vm_types.create(VmTypeCreate(name="x1.test", vcpus=1, memory_mib=64, disk_gib=1)).vcpus == 1
    assert client.vm_types.update("x1.test", VmTypeUpdate(vcpus=2)).vcpus == 2
    client.vm_types.delete("x1.test")
    assert client.networks.create(NetworkCreate(name="lan", cidr="10.99.0.0/24")).cidr == "10.99.0.0/24"
    client.networks.delete("lan")
    assert client.ssh_keys.create(SshKeyCreate(name="k", public_key=PUBLIC_KEY)).fingerprint.startswith("SHA256:")
    client.ssh_keys.delete("k")
    client.projects.create(ProjectCreate(name="p"))
    token = client.tokens.create(TokenCreate(name="t", project="p"))
    with Client(client.transport.server.url, token.token) as other:
        assert other.whoami().project_name == "p"
        assert list(other.vms.list()) == []
    client.projects.delete("p")
    join = client.join_tokens.create(JoinTokenCreate(lifetime_seconds=60))
    assert join.token.startswith("hyj_")
    client.join_tokens.revoke(join.id)
    assert client.hosts.update("node1", HostUpdate(labels={"rack": "a"})).labels == {"rack": "a"}
    assert list(client.migrations.list()) == []
    with pytest.raises(NotFound):
        client.migrations.plan("no-such-vm")
    with pytest.raises(Conflict):
        client.operations.cancel(next(iter(client.operations.list())).id)
    assert {event.kind for event in client.events.list()} >= {"host.join", "network.create"}
    assert len(list(client.vm_types.list())) > 5


def test_another_project(client: Client, public: Public) -> None:
    client.projects.create(ProjectCreate(name="away"))
    with Client(public.url, public.token, project="away") as away:
        away.ssh_keys.create(SshKeyCreate(name="k", public_key=PUBLIC_KEY))
        assert [key.name for key in away.ssh_keys.list()] == ["k"]
        away.ssh_keys.delete("k")


def test_an_upload_goes_on_where_it_broke_off(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(CONTENT)
    operation = client.images.create(ImageCreate(name="up", format=DiskFormat.RAW))
    half = len(CONTENT) // 2
    headers = {"Content-Length": str(half), "Content-Range": f"bytes 0-{half - 1}/{len(CONTENT)}"}
    client.transport.upload("/v1/images/up/content", iter([CONTENT[:half]]), headers=headers)
    told: list[tuple[int, int]] = []
    image = client.images.upload("up", file, lambda sent, total: told.append((sent, total)))
    assert (image.state, image.size_bytes) == (ImageState.AVAILABLE, len(CONTENT))
    assert told[0][0] > half
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert client.operations.wait(client.operations.show(operation.id)).state is OperationState.DONE
    client.images.update("up", ImageUpdate(os="none"))
    client.operations.wait(client.images.delete("up"))


def test_refused_content_is_a_refusal(client: Client, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"QFI\xfb" + bytes(1000))
    operation = client.images.create(ImageCreate(name="bad"))
    with pytest.raises(Invalid):
        client.images.upload("bad", tmp_path / "bad")
    with pytest.raises(Failed):
        client.operations.wait(client.operations.show(operation.id))
    (tmp_path / "none").touch()
    with pytest.raises(Invalid, match="empty"):
        client.images.upload("bad", tmp_path / "none")


def test_a_watch_tells_every_change(client: Client) -> None:
    revision = next(client.transport.pages("/v1/projects"))["revision"]
    client.projects.create(ProjectCreate(name="seen"))
    client.projects.delete("seen")
    changes = client.projects.watch(since=revision)
    first = next(one for one in changes if one.op != "bookmark")
    assert first.op in ("put", "delete")  # both changes may have been read as one
    changes.close()  # type: ignore[attr-defined]


async def test_the_async_client_does_the_same(public: Public, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(CONTENT)
    async with AsyncClient(public.url, public.token) as client:
        assert (await client.whoami()).role == "admin"
        operation = await client.vms.create(small("twin"))
        seen: list[Operation] = []
        await client.operations.wait(operation, on_progress=seen.append)
        assert seen
        assert (await client.vms.show("twin")).state is EffectiveState.RUNNING
        assert "twin" in [vm.name async for vm in client.vms.list(state="running")]
        await client.operations.wait(await client.vms.delete("twin"))
        with pytest.raises(NotFound):
            await client.vms.show("twin")
        await client.images.create(ImageCreate(name="up2", format=DiskFormat.RAW))
        assert (await client.images.upload("up2", tmp_path / "image")).state is ImageState.AVAILABLE
        await client.operations.wait(await client.images.delete("up2"))


@pytest.fixture
def houyi(public: Public, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    for name, value in {"HOME": str(tmp_path), "HOUYI_API_URL": public.url, "HOUYI_API_TOKEN": public.token, "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)

    def run(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_app(build_app(), line.split())
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


LINES = """
vm create cli1 --image disk --type t1.nano --label a=1 --wait-for guest
vm list
vm list --state running --label a=1 --host node1
vm show cli1
vm log cli1
vm vnc cli1 --no-listen
vm pause cli1
vm resume cli1
vm reboot cli1
vm reset cli1
vm stop cli1 --grace 5s
vm start cli1
vm stop cli1 --force
vm set cli1 --label b=2 --remove-label a --memory 192MiB --restart-policy never
vm set cli1 --migration-policy gentle --downtime-ms 100
migration plan cli1
migration list
vm rename cli1 cli2
vm protect cli2
vm unprotect cli2
vm events cli2
vm delete cli2 --yes
vm create dry --image disk --type t1.nano --dry-run
image list
image show disk
network create lan9 --cidr 10.98.0.0/24 --dns 1.1.1.1
network list
network show lan9
network delete lan9 -y
vm-type create z1.test --vcpus 1 --memory 128MiB --disk 1GiB
vm-type list
vm-type show z1.test
vm-type set z1.test --vcpus 2
vm-type delete z1.test -y
ssh-key generate gen
ssh-key list
ssh-key delete gen -y
host list
host show node1
host cordon node1
host uncordon node1
host label node1 zone=b zone-
host join-token --lifetime 5m
host join-token list
operation list
operation list --open
event list --kind vm.create
project create prj
project list
token create tok --project prj --lifetime 1h
token list
token revoke tok --project prj
project delete prj -y
whoami
version
""".strip().splitlines()


def test_every_command_against_the_real_api(houyi: Callable[..., tuple[int, str, str]]) -> None:
    """In their order, since they build on each other; first for people, then the whole again for programs."""
    for suffix in ("", " -o json"):
        for line in LINES:
            code, out, err = houyi(line + suffix)
            assert code == 0, f"{line}: {err}"
            assert out or err
            if suffix:
                json.loads(out)
        key = Path(os.environ["HOME"]) / ".ssh" / "houyi_gen"
        key.unlink()


def test_import_from_a_file(houyi: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(CONTENT)
    code, out, err = houyi(f"image import fromfile --file {tmp_path / 'image'} --format raw --os none -o json")
    assert code == 0, err
    assert json.loads(out)["state"] == "done"
    image = json.loads(houyi("image show fromfile -o json")[1])
    assert (image["state"], image["os"], image["expected_sha256"]) == ("available", "none", image["sha256"])
    code, _, err = houyi(f"image import fromfile --file {tmp_path / 'image'}")
    assert (code, "name_taken" in err) == (4, True)
    assert houyi("image delete fromfile -y")[0] == 0


def test_exit_codes_of_real_refusals(houyi: Callable[..., tuple[int, str, str]]) -> None:
    assert houyi("vm show nobody")[0] == 3
    assert houyi("vm create x --image disk --vcpus 1 --memory 1TiB")[0] == 6
    assert houyi("vm create x --image none --type t1.nano")[0] == 3
    assert houyi("vm create Bad_Name --image disk --type t1.nano")[0] == 2
    assert houyi("project create default")[0] == 4


def environment(public: Public, home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), "HOUYI_API_URL": public.url, "HOUYI_API_TOKEN": public.token}


def test_the_console_on_a_terminal(public: Public, client: Client, tmp_path: Path) -> None:
    """Raw while it is open, as it was afterwards; the escape leaves."""
    client.operations.wait(client.vms.create(small("talk")))
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "vm", "console", "talk"], env=environment(public, tmp_path), stdin=theirs, stdout=theirs, stderr=theirs
    )
    seen = bytearray()
    threading.Thread(target=_collect, args=(ours, seen), daemon=True).start()
    _until(lambda: b"Ctrl-] leaves" in seen)
    _until(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON)
    os.write(ours, b"hello\x03there\r")
    _until(lambda: b"there" in seen.split(b"Ctrl-] leaves")[1])
    os.write(ours, b"\x1d")
    assert process.wait(20) == 0, seen
    assert termios.tcgetattr(theirs) == before
    _until(lambda: b"it runs on" in seen)
    os.close(theirs)
    os.close(ours)
    assert client.vms.show("talk").state is EffectiveState.RUNNING
    client.operations.wait(client.vms.delete("talk"))


def test_the_console_in_a_pipe(public: Public, client: Client, tmp_path: Path) -> None:
    client.operations.wait(client.vms.create(small("pipe")))
    command = [sys.executable, "-c", PROGRAM, "vm", "console", "pipe", "--idle", "1s"]
    done = subprocess.run(command, env=environment(public, tmp_path), input=b"through a pipe\n", capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert b"through a pipe" in done.stdout
    assert done.stderr == b""
    client.operations.wait(client.vms.stop("pipe", force=True))
    done = subprocess.run(command, env=environment(public, tmp_path), input=b"", capture_output=True, timeout=30)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert b"not_running" in done.stderr
    client.operations.wait(client.vms.delete("pipe"))


def _collect(descriptor: int, into: bytearray) -> None:
    try:
        while data := os.read(descriptor, 4096):
            into.extend(data)
    except OSError:
        return


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
