"""Counters of simulated guests: each goes on with time at rates of its own, which a test may choose."""

from collections.abc import Mapping
from dataclasses import replace

from houyi.host.sim.state import ON, SimDomain, SimState
from houyi.model.errors import Conflict
from houyi.model.exits import TRACE_SECONDS_MAX, ExitProfile, Spent, Virtualization
from houyi.model.host import Accelerator
from houyi.model.ids import VmId
from houyi.model.latency import BOUNDS_NS, LATENCY_SECONDS_MAX, DiskLatency, LatencyProfile
from houyi.model.telemetry import DiskCounters, MemoryUse, NicCounters, VcpuCounters, VmCounters
from houyi.model.vm import VmState

EXITS_S: Mapping[str, float] = {"exits": 1000.0, "halt_exits": 400.0, "io_exits": 100.0, "irq_exits": 250.0, "irq_window_exits": 50.0}
"""Of each vCPU under KVM, unless `SimState.exits_s` says otherwise for its VM."""
BUSY = 0.5
"""How much of its time a vCPU runs."""


class SimTelemetry:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def counters(self) -> Mapping[VmId, VmCounters]:
        self._sim.enter("counters", "")
        return {vm_id: self._read(vm_id, domain) for vm_id, domain in self._sim.domains.items() if domain.state in ON}

    async def pressure(self) -> Mapping[str, float]:
        ran = self._sim.clock.monotonic()
        return {"cpu_some": ran * 0.1, "cpu_full": 0.0, "memory_some": 0.0, "memory_full": 0.0, "io_some": ran * 0.01, "io_full": 0.0}

    async def counters_of(self, vm_id: VmId) -> VmCounters:
        self._sim.enter("counters_of", vm_id)
        domain = self._sim.running(vm_id)
        if domain is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        return self._read(vm_id, domain)

    async def latency(self, vm_id: VmId, seconds: float) -> LatencyProfile:
        """As many writes as its counters tell of, each of a millisecond."""
        sim = self._sim
        sim.enter("latency", vm_id)
        if not 0 < seconds <= LATENCY_SECONDS_MAX:
            raise Conflict("latency_too_long", f"disks are looked at for at most {LATENCY_SECONDS_MAX:g} s: ask for less")
        before, began_at = await self.counters_of(vm_id), sim.clock.now()
        await sim.clock.sleep(seconds)
        now = await self.counters_of(vm_id)
        if now.run != before.run:
            raise Conflict("not_running", "the VM was started again meanwhile: ask again")
        none = [0] * (len(BOUNDS_NS) + 1)
        writes = [*none]
        writes[BOUNDS_NS.index(1_000_000)] = now.disks[0].write_requests - before.disks[0].write_requests
        disk = DiskLatency(name="vda", reads=tuple(none), writes=tuple(writes), flushes=tuple(none))
        return LatencyProfile(vm_id=vm_id, began_at=began_at, seconds=seconds, disks=(disk,))

    def _read(self, vm_id: VmId, domain: SimDomain) -> VmCounters:
        sim, spec = self._sim, domain.vm.spec
        self._go_on(domain)
        ran = domain.ran_seconds
        kvm = sim.facts.accelerator.accelerator is Accelerator.KVM
        exits = {name: float(int(rate * ran)) for name, rate in sim.exits_s.get(vm_id, EXITS_S).items()} if kvm else {}
        vcpu = VcpuCounters(number=0, cpu_seconds=ran * BUSY, delay_seconds=ran * 0.01, wait_seconds=0.0, kvm=exits)
        return VmCounters(
            vm_id=vm_id,
            at=sim.clock.now(),
            ticks_seconds=sim.clock.monotonic(),
            run=str(domain.run),
            kvm=kvm,
            whole=vm_id not in sim.busy,
            cpu_seconds=ran * BUSY * spec.vcpus,
            vcpus=tuple(replace(vcpu, number=number) for number in range(spec.vcpus)),
            disks=(DiskCounters(name="vda", write_requests=int(ran * 10), write_bytes=int(ran * 40960), write_seconds=ran * 0.01),),
            nics=tuple(NicCounters(name=f"nic{number}", received_packets=int(ran), received_bytes=int(ran * 64)) for number in range(len(domain.vm.nics))),
            memory=MemoryUse(current_mib=float(spec.memory_mib), rss_mib=float(spec.memory_mib)),
        )

    def _go_on(self, domain: SimDomain) -> None:
        """Counters move while the guest executes; how long it did since the last look is known only roughly."""
        now = self._sim.clock.monotonic()
        if domain.counted_run != domain.run:
            domain.counted_run, domain.ran_seconds, domain.counted_seconds = domain.run, 0.0, now
        if domain.state is VmState.RUNNING:
            domain.ran_seconds += now - domain.counted_seconds
        domain.counted_seconds = now


REASONS: Mapping[str, str] = {"halt_exits": "hlt", "io_exits": "io", "irq_exits": "interrupt", "irq_window_exits": "vintr"}
"""KVM's own statistics, as reasons of a simulated processor of AMD's; what is left of the exits is MSRs."""
OUTSIDE_NS = 2_000


class SimTracing:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def profile(self, vm_id: VmId, seconds: float) -> ExitProfile:
        sim = self._sim
        sim.enter("profile", vm_id, libvirt=False)
        if not 0 < seconds <= TRACE_SECONDS_MAX:
            raise Conflict("trace_too_long", f"exits are traced for at most {TRACE_SECONDS_MAX:g} s: ask for less")
        domain = sim.running(vm_id)
        if domain is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        if sim.facts.accelerator.accelerator is not Accelerator.KVM:
            raise Conflict("no_vm_exits", "the VM runs under TCG: there are no VM exits")
        began_at = sim.clock.now()
        await sim.clock.sleep(seconds)
        whole = seconds * domain.vm.spec.vcpus
        rates = sim.exits_s.get(vm_id, EXITS_S)
        counts = {reason: int(rates.get(name, 0.0) * whole) for name, reason in REASONS.items()}
        counts["msr"] = max(0, int(rates.get("exits", 0.0) * whole) - sum(counts.values()))
        return ExitProfile(
            vm_id=vm_id,
            began_at=began_at,
            seconds=seconds,
            virtualization=Virtualization.SVM,
            reasons={reason: Spent(count, count * OUTSIDE_NS) for reason, count in sorted(counts.items(), key=lambda one: -one[1]) if count},
            msrs={"write tsc_deadline": counts["msr"]} if counts["msr"] else {},
        )

    async def clear(self) -> None:
        self._sim.enter("clear", "", libvirt=False)
