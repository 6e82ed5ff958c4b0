"""What counting VMs costs the agent: CPU of one look at all of them, over real libvirt, and what that is of a core for 100 VMs at the default rate.

    .venv/bin/python bench/telemetry.py [--vms 24] [--turns 20]

Real guests under TCG on one private host (own namespaces, own libvirtd), half of them and then all, so that what a look costs at all is told from what
each VM adds. The look is the agent's own, from libvirt's bulk call to the report in MessagePack. Under TCG libvirt leaves out KVM's own statistics (about
45 figures a vCPU): what it costs to take them in is measured apart, on as many figures made up, and added. Only our process is counted: libvirtd's and
QEMU's own work for the call is shown beside it as wall-clock time. Guests are left paused, so that they do not disturb what is measured.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

VMS, PERIOD_SECONDS = 100, 10.0
PROMISED_PERCENT = 1.0
KVM_FIGURES = 45


async def measure(vms: int, turns: int) -> None:
    from contract.hosts import NETWORK, LibvirtHost, new_vm, real_host, with_nic
    from houyi.agent.reports import Reports
    from houyi.agent.telemetry import Telemeter
    from houyi.base.clock import SystemClock
    from houyi.model.host import HostLoad
    from houyi.wire.agents import Report, encode

    load = HostLoad(vms_running=0, memory_free_mib=0, disk_free_gib=0, load1=0.0, libvirt_connected=True)
    found: dict[int, tuple[float, float]] = {}
    with real_host() as private:
        host = LibvirtHost(private)
        await host.open()
        try:
            await host.ports.networks.ensure(NETWORK)
            running = 0
            for number in (vms // 2, vms):
                while running < number:
                    vm = await host.have_disk(with_nic(new_vm(), address=f"10.80.0.{running + 10}"))
                    await host.ports.machine.start(vm, paused=True)
                    running += 1
                reports = Reports()
                telemeter = Telemeter(host.ports.telemetry, reports, SystemClock(), PERIOD_SECONDS)
                await telemeter.turn()
                cpu, wall, told = [], [], 0
                for _ in range(turns):
                    await asyncio.sleep(0.25)
                    began, cpu_began = time.perf_counter(), time.process_time()
                    await telemeter.turn()
                    rates = reports.rates.take()
                    told = max(told, len(rates), len(encode(Report(serial=1, load=load, telemetry=rates))) and len(rates))
                    cpu.append(time.process_time() - cpu_began)
                    wall.append(time.perf_counter() - began)
                if told != number:
                    raise SystemExit(f"only {told} of {number} VMs were told")
                found[number] = statistics.median(cpu), statistics.median(wall)
                print(f"{number:4} VMs: {found[number][0] * 1000:6.2f} ms CPU, {found[number][1] * 1000:6.1f} ms in all", flush=True)
        finally:
            await host.close()
    half, whole = found[vms // 2][0], found[vms][0]
    each = (whole - half) / (vms - vms // 2)
    fixed = max(0.0, whole - each * vms)
    kvm = kvm_seconds()
    print(f"a look costs {fixed * 1000:.2f} ms and {each * 1e6:.0f} us a VM; KVM's statistics add {kvm * 1e6:.0f} us a VM of two vCPUs")
    percent = (fixed + VMS * (each + kvm)) / PERIOD_SECONDS * 100
    verdict = "kept" if percent < PROMISED_PERCENT else "NOT KEPT"
    print(f"{VMS} VMs every {PERIOD_SECONDS:g} s: {percent:.2f} % of one core (promised: under {PROMISED_PERCENT:g} %: {verdict})")


def kvm_seconds() -> float:
    """CPU of taking in KVM's statistics of a VM of two vCPUs, as far as it is ours: from libvirt's mapping to rates."""
    from houyi.host.libvirt.counters import counters_from
    from houyi.model.ids import VmId
    from houyi.planning.telemetry import rates

    def once(stats: dict[str, int], kvm: bool, rounds: int = 300) -> float:
        began = time.process_time()
        for number in range(rounds):
            first = counters_from(VmId("a"), "1", stats, kvm=kvm, at=1.0, ticks_seconds=float(number))
            rates(first, counters_from(VmId("a"), "1", {name: value + 1 for name, value in stats.items()}, kvm=kvm, at=11.0, ticks_seconds=number + 10.0))
        return (time.process_time() - began) / rounds

    bare = {"vcpu.maximum": 2, "vcpu.0.state": 1, "vcpu.1.state": 1, "block.0.rd.reqs": 1}
    full = bare | {f"vcpu.{vcpu}.figure{number}.sum": 1000 for vcpu in range(2) for number in range(KVM_FIGURES)}
    return once(full, True) - once(bare, False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--vms", type=int, default=24)
    options.add_argument("--turns", type=int, default=20)
    asked = options.parse_args()
    asyncio.run(measure(asked.vms, asked.turns))


if __name__ == "__main__":
    main()
