"""What the doctor says of machines: on trees of other machines, and of this one as it is."""

from pathlib import Path

import pytest

from houyi.base.config import Settings
from houyi.host.probe.machine import MachineFiles
from houyi.local import doctor
from houyi.local.doctor import CHECKS, Finding, Machine, advise, examine, parse_version
from machines import plant

CPU = "model name\t: QEMU Virtual CPU\nflags\t\t: fpu {flags}\n"

CORE = "Limit                     Soft Limit           Hard Limit           Units\nMax core file size        0                    {hard:<20} bytes\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name, text in {
        "proc/self/limits": CORE.format(hard="unlimited"),
        "proc/self/status": "CapInh:\t0000000000000000\nCapEff:\t000001fffeffffff\n",
        "proc/cpuinfo": CPU.format(flags="hypervisor"),
        "proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(Settings(state_dir=tmp_path / "not" / "yet"), MachineFiles(tmp_path / "proc", tmp_path / "sys"))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)\n", (10, 0)),
        ("/usr/sbin/libvirtd (libvirt) 11.3.0", (11, 3)),
        ("QEMU emulator version 7.2.17", (7, 2)),
        ("no such thing", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


async def test_memory(machine: Machine) -> None:
    assert (await doctor.check_memory(machine)).finding is Finding.OK
    (machine.files.proc / "meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable: 102400 kB\n")
    poor = await doctor.check_memory(machine)
    assert (poor.finding, poor.found) == (Finding.WARN, "100 MiB of 4096 MiB available")
    assert poor.limits
    assert poor.advice


async def test_the_limit_of_core_files(machine: Machine) -> None:
    assert (await doctor.check_core_limit(machine)).finding is Finding.OK
    (machine.files.proc / "self/limits").write_text(CORE.format(hard="0"))
    stuck = await doctor.check_core_limit(machine)
    assert (stuck.finding, stuck.limits) == (Finding.FAIL, "no VM can start")
    (machine.files.proc / "self/status").write_text("CapEff:\t000001ffffffffff\n")
    assert (await doctor.check_core_limit(machine)).finding is Finding.OK


async def test_cgroups(machine: Machine) -> None:
    assert (await doctor.check_cgroups(machine)).found == "version 2"
    (machine.files.sys / "fs/cgroup/cgroup.controllers").unlink()
    none = await doctor.check_cgroups(machine)
    assert (none.finding, none.found) == (Finding.WARN, "not mounted")
    (machine.files.sys / "fs/cgroup/memory").mkdir()
    assert (await doctor.check_cgroups(machine)).found == "version 1"


async def test_where_it_runs(machine: Machine) -> None:
    assert "inside a VM" in (await doctor.check_nested(machine)).found
    (machine.files.proc / "cpuinfo").write_text(CPU.format(flags="vmx"))
    assert "on hardware" in (await doctor.check_nested(machine)).found


async def test_huge_pages(machine: Machine) -> None:
    assert "none reserved" in (await doctor.check_hugepages(machine)).found
    (machine.files.sys / "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").write_text("512\n")
    assert (await doctor.check_hugepages(machine)).found == "512 of 2048 KiB"


async def test_a_state_dir_that_is_not_there_yet_is_measured_where_it_will_be(machine: Machine, tmp_path: Path) -> None:
    assert str(tmp_path) in (await doctor.check_disk(machine)).found


async def test_advice_follows_the_rules_of_the_report_most_useful_first(tmp_path: Path) -> None:
    found = await advise(Machine(Settings(), root=plant(tmp_path, "intel")))
    assert [result.check for result in found][:3] == ["APICv", "swap", "split huge pages"]
    assert {"kernel parameter audit", "CPU frequency", "page merging over nodes"} <= {result.check for result in found}
    assert "accelerator" not in {result.check for result in found}, "a check says that"


async def test_this_machine_is_examined_whole(tmp_path: Path) -> None:
    whole = await examine(Settings(state_dir=tmp_path))
    results, advised = whole[: len(CHECKS)], whole[len(CHECKS) :]
    assert all(result.finding is Finding.ADVICE and result.advice and result.limits for result in advised)
    assert not any(result.finding is Finding.ADVICE for result in results)
    assert len({result.check for result in results}) == len(results)
    for result in results:
        assert result.found
        assert (result.finding is Finding.OK) == (not result.limits), result
        assert bool(result.limits) == bool(result.advice), result


async def test_a_machine_of_a_lab_needs_programs_and_memory(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = await doctor.check_lab_machine(machine)
    assert poor.finding is Finding.WARN
    monkeypatch.setattr(doctor, "_PATH", str(tmp_path))
    bare = await doctor.check_lab_machine(machine)
    assert (bare.finding, bare.found) == (Finding.WARN, "missing: mmdebstrap, mke2fs, qemu-img, ssh, ssh-keygen")
    assert bare.advice == "install e2fsprogs mmdebstrap openssh-client qemu-utils"
