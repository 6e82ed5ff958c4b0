"""Everything that a host report is made of, in one look at the machine."""

import asyncio
from pathlib import Path

from houyi.host.probe.devices import read_devices
from houyi.host.probe.kernel import read_kernel
from houyi.host.probe.memory import read_memory
from houyi.host.probe.power import read_power
from houyi.host.probe.reading import Reading
from houyi.host.probe.virt import read_virt
from houyi.host.shell import run
from houyi.model.errors import HouyiError
from houyi.model.host import AcceleratorProbe
from houyi.model.host_report import HostTraits

EMULATOR = "qemu-system-x86_64"
EMULATOR_SECONDS = 10.0
READ_SECONDS = 10.0
"""A driver whose file does not come back holds up one thread, not the agent."""


def read_traits(root: Path, accelerator: AcceleratorProbe, emulator_devices: str | None) -> HostTraits:
    """From the files below `root`; never raises."""
    reading = Reading(root)
    return HostTraits(
        accelerator=accelerator,
        virt=read_virt(reading),
        memory=read_memory(reading),
        power=read_power(reading),
        devices=read_devices(reading, emulator_devices),
        kernel=read_kernel(reading),
        unknown=reading.unknown,
    )


async def look(accelerator: AcceleratorProbe, root: Path = Path("/")) -> HostTraits:
    """At this machine; ends in time and never raises."""
    devices = await _emulator_devices()
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await asyncio.to_thread(read_traits, root, accelerator, devices)
    except TimeoutError:
        return HostTraits(accelerator=accelerator, unknown={"everything": f"the files of the kernel did not answer within {READ_SECONDS:g} s"})


async def _emulator_devices() -> str | None:
    try:
        return (await run((EMULATOR, "-accel", "tcg", "-machine", "none", "-device", "help"), timeout=EMULATOR_SECONDS)).text
    except HouyiError:
        return None
