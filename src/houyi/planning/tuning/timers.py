"""Knobs of timers: programming one, and its running out, each cost an exit on most machines."""

from houyi.model.tuning import Choice, Knob, Means, Need, Scope, Subject, Symptom, Takes
from houyi.planning.tuning.words import by_cpu_model, on_and_off

TIMERS: tuple[Knob, ...] = (
    Knob(
        name="tsc_deadline",
        subject=Subject.TIMERS,
        scope=Scope.VM,
        what="the guest's timer is armed by one register write with the time itself, instead of by dividing down a counter of the emulated interrupt controller",
        changes=(Symptom.TIMER,),
        takes=Takes.NEXT_START,
        means=Means.LIBVIRT,
        choices=by_cpu_model("TSC deadline timer", Need.TSC_DEADLINE),
    ),
    Knob(
        name="kvmclock",
        subject=Subject.TIMERS,
        scope=Scope.VM,
        what="the guest reads the time from memory that the host keeps up to date, without an exit",
        changes=(Symptom.TIMER, Symptom.IO),
        takes=Takes.NEXT_START,
        means=Means.LIBVIRT,
        choices=(
            Choice(value="auto", what="as the accelerator has it: on under KVM"),
            Choice(value="on", what="offered", needs=(Need.KVM,)),
            Choice(value="off", what="not offered: the guest uses the TSC where that is stable, else the slow ACPI timer", needs=(Need.KVM,)),
        ),
    ),
    Knob(
        name="hpet",
        subject=Subject.TIMERS,
        scope=Scope.VM,
        what="an emulated timer whose every read and write goes to QEMU",
        changes=(Symptom.MMIO, Symptom.TIMER),
        takes=Takes.NEXT_START,
        means=Means.LIBVIRT,
        choices=on_and_off(on="there, for guests that know no better clock", off="not there"),
        default="off",
        risk="a guest with neither a stable TSC nor kvmclock loses its better clock when it is off",
    ),
    Knob(
        name="pit",
        subject=Subject.TIMERS,
        scope=Scope.VM,
        what="the PC's oldest timer; some guests let it tick, or calibrate by it at boot",
        changes=(Symptom.IO, Symptom.TIMER),
        takes=Takes.NEXT_START,
        means=Means.QEMU,
        choices=on_and_off(on="there, as in every PC", off="not there"),
        default="on",
        risk="boot loaders and guests of before 2019 may hang without it",
        guest="Linux 5.3 or newer, or another guest that calibrates by something else",
    ),
    Knob(
        name="pi_inject_timer",
        subject=Subject.TIMERS,
        scope=Scope.HOST,
        what="timers of guests run on the host's housekeeping CPUs and are posted into the guest, so that their running out makes no vCPU exit",
        changes=(Symptom.TIMER, Symptom.INTERRUPT),
        takes=Takes.LIVE,
        means=Means.FILE,
        choices=on_and_off(on="posted", off="delivered where the vCPU runs"),
        risk="without posted interrupts in the CPU, or without CPUs kept free of vCPUs (isolcpus, nohz_full), timers get later rather than cheaper",
    ),
)
