"""Knobs of power: a CPU that sleeps deeply, or runs slowly, answers late."""

from houyi.model.tuning import AUTO, Choice, Knob, Means, Numbers, Scope, Subject, Symptom, Takes

POWER: tuple[Knob, ...] = (
    Knob(
        name="governor",
        subject=Subject.POWER,
        scope=Scope.HOST,
        what="by what rule the CPUs' frequency follows the load",
        changes=(Symptom.WAKE, Symptom.STEAL),
        takes=Takes.LIVE,
        means=Means.FILE,
        choices=(
            Choice(value="performance", what="the highest at all times"),
            Choice(value="powersave", what="the lowest; with Intel's own driver: by the CPU's judgement"),
            Choice(value="schedutil", what="by what the scheduler sees"),
            Choice(value="ondemand", what="by sampled load, up at once and down slowly"),
            Choice(value="conservative", what="by sampled load, up and down slowly"),
        ),
        risk="performance: power and heat, and less left for turbo of single CPUs",
    ),
    Knob(
        name="c_states",
        subject=Subject.POWER,
        scope=Scope.HOST,
        what="how deeply idle CPUs may sleep: waking from the deepest states takes 100 us and more",
        changes=(Symptom.WAKE,),
        takes=Takes.LIVE,
        means=Means.FILE,
        choices=(
            Choice(value="all", what="as deeply as they can"),
            Choice(value="shallow", what="states that take more than 20 us to leave are not entered"),
        ),
        risk="shallow: power and heat, and less left for turbo of single CPUs",
    ),
    Knob(
        name="cpu_dma_latency",
        subject=Subject.POWER,
        scope=Scope.HOST,
        what="the time that waking a CPU may take at most, asked of the kernel for as long as the agent holds the device open",
        changes=(Symptom.WAKE,),
        takes=Takes.LIVE,
        means=Means.DEVICE,
        choices=(Choice(value=AUTO, what="nothing is asked"),),
        numbers=Numbers(least=0, most=10_000, unit="us"),
        risk="0 keeps idle CPUs spinning; it ends with the agent's process and comes back with it",
    ),
)
