"""Values that many knobs share."""

from houyi.model.tuning import AUTO, Choice, Need


def on_and_off(*, on: str, off: str, needs: tuple[Need, ...] = ()) -> tuple[Choice, ...]:
    """:param needs: of both."""
    return (Choice(value="on", what=on, needs=needs), Choice(value="off", what=off, needs=needs))


def by_cpu_model(feature: str, need: Need) -> tuple[Choice, ...]:
    """A feature of the guest's CPU."""
    return (
        Choice(value=AUTO, what="as the guest's CPU model has it"),
        Choice(value="on", what=f"{feature} required, even if the model lacks it", needs=(need,)),
        Choice(value="off", what=f"no {feature}, even if the model has it"),
    )


def by_kvm(feature: str, *, auto: str) -> tuple[Choice, ...]:
    """A feature that KVM offers to guests that know it. :param auto: what the CPU model has of it by itself."""
    return (
        Choice(value=AUTO, what=auto),
        Choice(value="on", what=f"{feature} offered", needs=(Need.KVM,)),
        Choice(value="off", what=f"{feature} not offered", needs=(Need.KVM,)),
    )
