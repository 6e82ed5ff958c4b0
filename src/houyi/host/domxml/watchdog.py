"""The chipset's own watchdog (iTCO), which every q35 machine has: what it does once a guest that opened it stops feeding it."""

from xml.etree.ElementTree import Element

from houyi.host.domxml.context import DomainContext, child, devices
from houyi.model.vm import Remedy, Trouble
from houyi.planning.spec import remedy

_ACTIONS = {Remedy.RESTART: "reset", Remedy.STOP: "poweroff", Remedy.KEEP: "none"}


def configure(ctx: DomainContext, domain: Element) -> None:
    child(devices(domain), "watchdog", model="itco", action=_ACTIONS[remedy(ctx.vm.spec, Trouble.WATCHDOG)])
