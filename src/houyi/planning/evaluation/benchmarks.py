"""The suite: every benchmark, as one tuple. The same command runs in every place, from the same tree of Debian packages.

In commands {seconds}, {cpus}, {scratch} (a folder on the disk), {peer} and {port} (of the machine's end of the network) are filled in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from houyi.model.errors import NotFound
from houyi.model.evaluation import Better
from houyi.planning.evaluation import parsers

STEPS = 100_000
"""Loads an event of chase.lua."""
CALLS = 1_000
"""System calls an event of syscall.lua."""
SCRIPTS = "/usr/share/bench"
"""Of our own scripts, in the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    name: str
    group: str
    """Of one plot."""
    argv: tuple[str, ...]
    parse: parsers.Parser
    unit: str
    better: Better
    work: str
    """What one operation is."""
    shows: str
    """What a difference means."""
    server: tuple[str, ...] = ()
    """What runs on the machine meanwhile, as the other end of the network."""
    cpus_min: int = 1
    quick: bool = False
    """Whether it is in a quick run."""

    def command(self, words: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(word.format(**words) for word in self.argv)


def _sysbench(*words: str) -> tuple[str, ...]:
    return ("sysbench", *words, "--time={seconds}", "run")


def _fio(name: str, *words: str) -> tuple[str, ...]:
    common = ("--filename={scratch}/fio", "--size=64M", "--bs=4k", "--direct=1", "--ioengine=psync", "--runtime={seconds}", "--time_based")
    return ("fio", f"--name={name}", *common, "--randseed=1", "--output-format=json", *words)


_MORE, _LESS = Better.MORE, Better.LESS

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="cpu",
        group="CPU",
        argv=_sysbench("cpu", "--cpu-max-prime=2000", "--threads=1"),
        parse=parsers.sysbench_cpu,
        unit="events/s",
        better=_MORE,
        work="search for primes below 2,000",
        shows="plain computing on one CPU: nothing that a hypervisor should cost, but for a CPU that is shared",
        quick=True,
    ),
    Benchmark(
        name="cpu-all",
        group="CPU",
        argv=_sysbench("cpu", "--cpu-max-prime=2000", "--threads={cpus}"),
        parse=parsers.sysbench_cpu,
        unit="events/s",
        better=_MORE,
        work="search for primes below 2,000",
        shows="computing on all CPUs of the place: what is lost to sharing and stealing",
        cpus_min=2,
    ),
    Benchmark(
        name="memory-bandwidth",
        group="memory",
        argv=_sysbench("memory", "--memory-block-size=32M", "--memory-total-size=1000T", "--memory-oper=write", "--threads=1"),
        parse=parsers.sysbench_memory,
        unit="MiB/s",
        better=_MORE,
        work="MiB written",
        shows="writing blocks that no cache holds",
    ),
    Benchmark(
        name="memory-latency",
        group="memory latency",
        argv=_sysbench(f"{SCRIPTS}/chase.lua", "--mib=32", "--stride=64", "--threads=1"),
        parse=parsers.sysbench_events(STEPS),
        unit="ns/load",
        better=_LESS,
        work="load",
        shows="a pointer chase through 32 MiB of small pages: memory and page walks together",
    ),
    Benchmark(
        name="memory-translation",
        group="memory latency",
        argv=_sysbench(f"{SCRIPTS}/chase.lua", "--mib=64", "--stride=4096", "--threads=1"),
        parse=parsers.sysbench_events(STEPS),
        unit="ns/load",
        better=_LESS,
        work="load",
        shows="a pointer chase over 16,384 small pages, one cache line of each: mostly page walks, which nested paging makes two-dimensional",
    ),
    Benchmark(
        name="memory-translation-huge",
        group="memory latency",
        argv=_sysbench(f"{SCRIPTS}/chase.lua", "--mib=64", "--stride=4096", "--huge=1", "--threads=1"),
        parse=parsers.sysbench_events(STEPS),
        unit="ns/load",
        better=_LESS,
        work="load",
        shows="the same chase with huge pages asked for: beside memory-translation, what page walks cost",
    ),
    Benchmark(
        name="syscall",
        group="kernel",
        argv=_sysbench(f"{SCRIPTS}/syscall.lua", "--threads=1"),
        parse=parsers.sysbench_events(CALLS),
        unit="ns/call",
        better=_LESS,
        work="getppid()",
        shows="entering and leaving the kernel: mitigations, not the hypervisor",
        quick=True,
    ),
    Benchmark(
        name="context-switch",
        group="switches and interrupts",
        argv=("stress-ng", "--switch", "1", "--timeout", "{seconds}s", "--metrics-brief", "--temp-path", "/tmp"),  # noqa: S108 - the place's own
        parse=parsers.stress_ng("switch"),
        unit="bogo ops/s",
        better=_MORE,
        work="message through a pipe to another process",
        shows="two processes that wake each other: idle exits and wake-ups of vCPUs",
    ),
    Benchmark(
        name="ipi",
        group="switches and interrupts",
        argv=("stress-ng", "--tlb-shootdown", "1", "--timeout", "{seconds}s", "--metrics-brief", "--temp-path", "/tmp"),  # noqa: S108
        parse=parsers.stress_ng("tlb-shootdown"),
        unit="bogo ops/s",
        better=_MORE,
        work="round of page protections that all CPUs have to learn of",
        shows="interrupts from CPU to CPU: an exit each, unless the hardware or the hypervisor takes a short way",
        cpus_min=2,
    ),
    Benchmark(
        name="wake-up",
        group="latencies",
        argv=("ptsematest", "-t", "-i", "500", "-D", "{seconds}", "-q", "--json=/proc/self/fd/1"),
        parse=parsers.ptsematest,
        unit="us",
        better=_LESS,
        work="wake-up of a thread by another",
        shows="from the release of a lock until who waited for it runs",
    ),
    Benchmark(
        name="timer",
        group="latencies",
        argv=("cyclictest", "-m", "-p", "80", "-t", "1", "-i", "1000", "-D", "{seconds}", "-h", "5000", "-q", "--json=/proc/self/fd/1"),
        parse=parsers.cyclictest,
        unit="us",
        better=_LESS,
        work="wake-up by a timer",
        shows="how late a thread runs after its timer was due: timer exits, idle states, steal",
    ),
    Benchmark(
        name="disk-read",
        group="disk",
        argv=_fio("read", "--rw=randread"),
        parse=parsers.fio("read"),
        unit="us/request",
        better=_LESS,
        work="4 KiB read past the page cache, one at a time",
        shows="the way to the disk and back: notifications, and the interrupt that ends it",
        quick=True,
    ),
    Benchmark(
        name="disk-write",
        group="disk",
        argv=_fio("write", "--rw=randwrite", "--fdatasync=1"),
        parse=parsers.fio("write"),
        unit="us/request",
        better=_LESS,
        work="4 KiB written and flushed",
        shows="the same with a flush after each write",
    ),
    Benchmark(
        name="net-latency",
        group="network latency",
        argv=("sockperf", "ping-pong", "--tcp", "-i", "{peer}", "-p", "{port}", "-t", "{seconds}", "--mps=max"),
        server=("sockperf", "server", "--tcp", "-i", "{peer}", "-p", "{port}"),
        parse=parsers.sockperf,
        unit="us/round trip",
        better=_LESS,
        work="request and answer",
        shows="a small request to the machine and its answer: two notifications and two interrupts",
    ),
    Benchmark(
        name="net-throughput",
        group="network throughput",
        argv=("iperf3", "-c", "{peer}", "-p", "{port}", "-t", "{seconds}", "-J"),
        server=("iperf3", "-s", "-1", "-B", "{peer}", "-p", "{port}"),
        parse=parsers.iperf3,
        unit="Mbit/s",
        better=_MORE,
        work="KiB received",
        shows="one TCP connection to the machine, as much as goes through",
    ),
)

BOOT = "boot"
"""Not a program: a place is made, or started, until the first program in it has answered."""
BOOT_UNIT = "s"
BOOT_SHOWS = (
    "a container: until its first program has answered; a VM: from the request to start it until its guest's agent answers; the machine is not started anew"
)


def chosen(names: str, *, quick: bool, cpus: int) -> tuple[Benchmark, ...]:
    """By names with commas between them, '': all; those that need more CPUs than there are, are left out unless they are named. :raise NotFound: `benchmark_not_found`."""
    by_name = {one.name: one for one in BENCHMARKS}
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in by_name and name != BOOT]:
        raise NotFound("benchmark_not_found", f"there is no benchmark {unknown[0][:64]!r}: `houyi bench list` shows them")
    if asked:
        return tuple(one for one in BENCHMARKS if one.name in asked)
    return tuple(one for one in BENCHMARKS if one.cpus_min <= cpus and (one.quick or not quick))
