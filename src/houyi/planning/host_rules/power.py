"""How the CPUs run and sleep, and how time is read."""

from collections.abc import Iterator

from houyi.model.host_report import Area, Has, HostTraits, Item
from houyi.planning.host_rules.words import unknown

_DEEP_US = 50
"""To wake up from a state that takes longer is felt by guests that wait for packets."""
_OWN_CHOICE = ("intel_pstate", "amd-pstate-epp")
"""With these drivers `powersave` does not mean slow: the CPU chooses, by the preference that it is given."""
_GOVERNORS = {"powersave": 60, "conservative": 50, "ondemand": 40, "schedutil": 35, "userspace": 40}
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")


def _item(name: str, value: str, meaning: str, advice: str = "", weight: int = 0) -> Item:
    return Item(name=name, area=Area.POWER, value=value, meaning=meaning, advice=advice, weight=weight if advice else 0)


def governor(traits: HostTraits) -> Iterator[Item]:
    power = traits.power
    meaning = "how fast the CPUs run at a small load: guests that are busy for a moment only find them slow"
    if power.freq_driver is None or (power.freq_driver and not power.governors):
        yield _item("CPU frequency", unknown(traits, "power.freq_driver", "power.governors"), meaning)
        return
    if not power.freq_driver:
        yield _item("CPU frequency", "not set by this kernel", "firmware, or the hypervisor below, says how fast the CPUs run")
        return
    value = f"{', '.join(power.governors)} ({power.freq_driver}" + (f", preference {power.preference})" if power.preference else ")")
    advice, weight = "", 0
    others = [name for name in power.governors if name != "performance"]
    if others and power.freq_driver in _OWN_CHOICE:
        if power.preference != "performance":
            weight = 45 if power.preference in ("power", "balance_power") else 30
            advice = "`cpupower frequency-set -g performance`, where answers are to be fast rather than cheap"
    elif others:
        weight = max(_GOVERNORS.get(name, 35) for name in others)
        advice = "`cpupower frequency-set -g performance` (and tuned or power-profiles-daemon told so)"
    yield _item("CPU frequency", value, meaning, advice, weight)
    if power.boost is Has.OFF:
        advice = (
            "switch turbo on: `echo 0 > /sys/devices/system/cpu/intel_pstate/no_turbo`, with other drivers `echo 1 > /sys/devices/system/cpu/cpufreq/boost`"
        )
        yield _item("turbo", "off", "no CPU runs faster than its nominal frequency, though others are idle; figures repeat better so", advice, 35)


def idle(traits: HostTraits) -> Iterator[Item]:
    power = traits.power
    meaning = "how deep idle CPUs sleep: the deeper, the longer a guest waits for its CPU after an interrupt"
    if power.idle_driver is None:
        yield _item("C-states", unknown(traits, "power.idle_driver"), meaning)
        return
    used = [state for state in power.idle_states if not state.disabled]
    if not used:
        yield _item("C-states", f"none ({power.idle_driver or 'no driver'})", meaning)
        return
    deepest = max(used, key=lambda state: state.latency_us)
    value = ", ".join(f"{state.name} {state.latency_us} us" for state in used) + f" ({power.idle_driver})"
    advice = ""
    if deepest.latency_us > _DEEP_US:
        advice = f"for guests that must answer fast: keep {deepest.name} off, by /dev/cpu_dma_latency or `cpupower idle-set -D {_DEEP_US}`; leave it where power counts"
    yield _item("C-states", value, meaning, advice, 30)


def clock(traits: HostTraits) -> Iterator[Item]:
    power, inside = traits.power, traits.virt.inside_vm
    meaning = "by what the host reads the time; the TSC is read in a few ns, others take a device or a call, and guests cannot have a steady clock without it"
    if power.clock_source is None:
        yield _item("clock source", unknown(traits, "power.clock_source"), meaning)
        return
    advice, weight = "", 0
    if power.clock_source != "tsc" and (not inside or power.clock_source in _SLOW_CLOCKS):
        weight = 80 if power.clock_source in _SLOW_CLOCKS else 40
        if "tsc" in power.clock_sources:
            advice = "`echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource`, and clocksource= off the kernel command line"
        else:
            advice = "see `dmesg | grep -i tsc` for why the kernel gave the TSC up: mostly the firmware, which an update corrects"
    yield _item(
        "clock source", f"{power.clock_source} (of {', '.join(power.clock_sources)})" if power.clock_sources else power.clock_source, meaning, advice, weight
    )
    if power.tsc_steady is False and not inside:
        yield _item(
            "steady TSC", "no", "the CPU's clock changes its rate or stops in sleep: guests fall back to slow clocks, and their time jumps after a move"
        )


def threads(traits: HostTraits) -> Iterator[Item]:
    power = traits.power
    if power.cpus is None:
        yield _item("CPUs", unknown(traits, "power.cpus"), "what virtual CPUs run on")
        return
    shared = (power.threads_per_core or 1) > 1
    meaning = (
        "two threads share a core: a virtual CPU has between half and all of one, as its neighbour is busy or not" if shared else "each is a core of its own"
    )
    if power.threads_per_core is None:
        meaning = "whether they share cores is not known"
    yield _item("CPUs", f"{power.cpus} online" + (f", {power.threads_per_core} to a core" if shared else ""), meaning)


RULES = (governor, idle, clock, threads)
