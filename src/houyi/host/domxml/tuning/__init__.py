"""VM knobs in domain XML: what each setting puts there, and what a running domain has of it. Pure.

A domain is made without them first; each fitting then changes the tree in one place. FITTINGS has one for every VM knob of `planning.tuning`, in the order in which they
are put (later ones may look at what earlier ones did). To add a knob: its fitting, a line here, its golden file (tests/golden/tuning).
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext
from houyi.host.domxml.tuning import cpu, idle, interrupts, io, memory, net, timers
from houyi.host.domxml.tuning.fitting import Fitting
from houyi.planning.tuning.knobs import BY_NAME

FITTINGS: Mapping[str, Fitting] = {
    **timers.FITTINGS,
    **interrupts.FITTINGS,
    **idle.FITTINGS,
    **memory.FITTINGS,
    **io.FITTINGS,
    **net.FITTINGS,
    **cpu.FITTINGS,
}


def tune(ctx: DomainContext, domain: Element) -> None:
    """Put the VM's settings into its domain. Those that are the default change nothing."""
    for name, fitting in FITTINGS.items():
        value = ctx.vm.tuning.get(name, "")
        if value and value != BY_NAME[name].default:
            fitting.put(ctx, domain, value)


def tuned(domain: Element) -> dict[str, str]:
    """What a domain has, live or not: settings by knob, those only that are not the default."""
    seen = {name: fitting.seen(domain) for name, fitting in FITTINGS.items()}
    return {name: value for name, value in seen.items() if value and value != BY_NAME[name].default}
