"""The accelerator, chosen by trying: guest code is run under /dev/kvm in a program of its own with a time limit, and what it took decides.

That /dev/kvm exists means nothing: there are KVMs that accept everything and interpret guests an instruction at a time.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from houyi.host.shell import run
from houyi.model.errors import HouyiError
from houyi.model.host import Accelerator, AcceleratorProbe

NATIVE_LOOP_NS = 3.0
"""A turn of the loop is two instructions: 0.2 to 1.5 ns on silicon of the last twenty years."""
SLOW_LOOP_NS = 200.0
"""About 5 ns where the CPU itself is emulated by translation (KVM inside a TCG machine: correct, for tests), and 40 where it has to share the real one with ten others;
700 and more where KVM interprets."""
SPARE_SHARE = 0.6
"""Of the trial's limit, beyond it: for the program's own start and end, which take long where the trial does."""


async def probe_kvm(seconds: float) -> AcceleratorProbe:
    """Try it; ends within `seconds` and a little. Never raises: what does not work is an answer."""
    argv = [sys.executable, "-I", str(Path(__file__).with_name("kvm_trial.py")), str(seconds)]
    try:
        output = await run(argv, timeout=seconds * (1 + SPARE_SHARE))
        found: dict[str, Any] = msgspec.json.decode(output.stdout)
    except (HouyiError, msgspec.DecodeError) as error:
        return _qemu("broken", f"the trial of KVM did not end properly: {error}")
    return judge(found)


def judge(found: Mapping[str, Any]) -> AcceleratorProbe:
    """What the trial's findings (see kvm_trial.py) mean."""
    exits: dict[str, int] = found.get("exit_ns", {})
    can: dict[str, int] = found.get("capabilities", {})
    loop_ns = float(found.get("loop_ns", 0.0))
    if not found.get("present"):
        return _qemu(
            "absent", "/dev/kvm is not there: enable virtualization in the firmware, or nested virtualization in the hypervisor below, and load the kvm module"
        )
    if "denied" in found:
        return _qemu("denied", f"/dev/kvm may not be opened ({found['denied']}): run the agent as root or in group kvm")
    if "hang" in found:
        at = found.get("stage", "its start")
        return _qemu("hang", f"64-bit code under /dev/kvm did not come back within {found['hang']:g} s (stage: {at}): this KVM cannot run guests", loop_ns)
    if "error" in found or found.get("stage") != "done" or not loop_ns:
        error = found.get("error", f"the trial died (stage: {found.get('stage', 'its start')})")
        return _qemu("broken", f"/dev/kvm cannot run 64-bit code: {error}", loop_ns)
    if loop_ns < NATIVE_LOOP_NS:
        reason = f"64-bit code ran natively under /dev/kvm ({loop_ns:g} ns a loop turn)"
        return AcceleratorProbe(accelerator=Accelerator.KVM, verdict="native", reason=reason, exit_ns=exits, loop_ns=loop_ns, capabilities=can)
    if loop_ns < SLOW_LOOP_NS:
        reason = f"KVM works, on a CPU that is itself emulated ({loop_ns:g} ns a loop turn): correct, but for tests only"
        return AcceleratorProbe(accelerator=Accelerator.KVM, verdict="slow", reason=reason, exit_ns=exits, loop_ns=loop_ns, capabilities=can)
    reason = f"/dev/kvm interprets instructions one by one ({loop_ns:g} ns a loop turn, silicon takes 1): emulation by QEMU is faster"
    return _qemu("emulated", reason, loop_ns)


def _qemu(verdict: str, reason: str, loop_ns: float = 0.0) -> AcceleratorProbe:
    return AcceleratorProbe(accelerator=Accelerator.QEMU, verdict=verdict, reason=reason, exit_ns={}, loop_ns=loop_ns)
