"""How the CPUs run and sleep: frequencies, C-states, the clock."""

import re

from houyi.host.probe.machine import read_cpus
from houyi.host.probe.reading import Reading
from houyi.host.probe.virt import read_cpu
from houyi.model.host_report import Has, IdleState, PowerTraits

_CPU = "sys/devices/system/cpu"
_CLOCK = "sys/devices/system/clocksource/clocksource0"
_STATES_MAX = 16


def read_power(reading: Reading) -> PowerTraits:
    cpu = read_cpu(reading)
    first = f"{_CPU}/cpu0/cpufreq"
    sets = reading.exists(first)
    return PowerTraits(
        cpus=reading.parsed(f"{_CPU}/online", lambda text: len(read_cpus(text)), "power.cpus"),
        threads_per_core=reading.parsed(f"{_CPU}/cpu0/topology/thread_siblings_list", lambda text: len(read_cpus(text)), "power.threads_per_core"),
        freq_driver=reading.text(f"{first}/scaling_driver", "power.freq_driver") if sets else "",
        governors=_governors(reading) if sets else (),
        preference=reading.text(f"{first}/energy_performance_preference") if sets else None,
        boost=_boost(reading),
        idle_driver=reading.text(f"{_CPU}/cpuidle/current_driver", "power.idle_driver"),
        idle_states=_states(reading),
        clock_source=reading.text(f"{_CLOCK}/current_clocksource", "power.clock_source"),
        clock_sources=tuple((reading.text(f"{_CLOCK}/available_clocksource") or "").split()),
        tsc_steady=None if cpu is None else {"constant_tsc", "nonstop_tsc"} <= cpu.flags,
    )


def _governors(reading: Reading) -> tuple[str, ...]:
    policies = [name for name in reading.names(f"{_CPU}/cpufreq") if re.fullmatch(r"policy\d+", name)]
    paths = [f"{_CPU}/cpufreq/{name}" for name in policies] or [f"{_CPU}/cpu0/cpufreq"]
    found = {reading.text(f"{path}/scaling_governor", "power.governors") for path in paths}
    return tuple(sorted(governor for governor in found if governor))


def _boost(reading: Reading) -> Has | None:
    """Intel's driver says `no_turbo`, the others `boost`; neither: there is nothing to switch."""
    off = reading.flag(f"{_CPU}/intel_pstate/no_turbo")
    if off is not None:
        return Has.OFF if off else Has.ON
    on = reading.flag(f"{_CPU}/cpufreq/boost")
    return None if on is None else Has.ON if on else Has.OFF


def _states(reading: Reading) -> tuple[IdleState, ...]:
    folder = f"{_CPU}/cpu0/cpuidle"
    numbers = sorted(int(name[5:]) for name in reading.names(folder) if re.fullmatch(r"state\d+", name))[:_STATES_MAX]
    return tuple(
        IdleState(
            name=reading.text(f"{folder}/state{number}/name", "power.idle_states") or f"state{number}",
            latency_us=reading.number(f"{folder}/state{number}/latency", "power.idle_states") or 0,
            disabled=bool(reading.flag(f"{folder}/state{number}/disable")),
        )
        for number in numbers
    )
