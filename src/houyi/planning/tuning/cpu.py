"""Knobs of vCPUs: where they run."""

from houyi.model.tuning import Choice, Knob, Means, Need, Scope, Subject, Symptom, Takes

CPU: tuple[Knob, ...] = (
    Knob(
        name="pinning",
        subject=Subject.CPU,
        scope=Scope.VM,
        what="each vCPU is kept on one CPU of its host, on the nodes that the VM was fitted to; QEMU's other threads get the CPUs that are left there",
        changes=(Symptom.WAKE, Symptom.STEAL, Symptom.TRANSLATION),
        takes=Takes.NEXT_START,
        means=Means.LIBVIRT,
        choices=(
            Choice(value="float", what="the host's scheduler puts them where there is room"),
            Choice(value="pinned", what="on the CPUs that are kept by the fewest vCPUs of other VMs at the start", needs=(Need.NUMA,)),
        ),
        default="float",
        risk="two VMs that are kept on the same CPU share it even while others are idle",
    ),
)
