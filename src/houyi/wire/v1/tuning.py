"""Knobs, profiles and what a VM is asked to run with, as JSON."""

from pydantic import Field

from houyi.model.tuning import Advice as ModelAdvice
from houyi.model.tuning import Knob as ModelKnob
from houyi.model.tuning import Means, Scope, Source, Subject, Symptom, Takes
from houyi.model.tuning import Profile as ModelProfile
from houyi.wire.v1.shape import Page, Shown


class KnobChoice(Shown):
    value: str
    what: str
    needs: list[str] = Field(description="What a host must have for it.")


class KnobNumbers(Shown):
    least: int
    most: int
    unit: str
    needs: list[str]


class Knob(Shown):
    name: str
    subject: Subject
    scope: Scope = Field(description="Whether a VM has it or a host.")
    what: str
    changes: list[Symptom] = Field(description="Exits and waits that it should make fewer or shorter, the one that it is for first.")
    takes: Takes = Field(description="When a change takes effect.")
    means: Means = Field(description="By what it is set.")
    choices: list[KnobChoice]
    numbers: KnobNumbers | None = Field(description="Integers that it takes beside the choices.")
    default: str
    risk: str
    guest: str = Field(description="What must be so in the guest.")
    measured: str = Field(description="Where it was measured; empty: it was not.")


class KnobPage(Page[Knob]):
    """Every knob, on one page."""


class Profile(Shown):
    name: str
    what: str
    vm: dict[str, str] = Field(description="Settings of VM knobs.")
    host: dict[str, str] = Field(description="Settings of host knobs.")
    risk: str


class ProfilePage(Page[Profile]):
    """Every profile, on one page."""


class VmSetting(Shown):
    knob: str
    value: str
    source: Source
    why_not: str = Field(description="Why it does not hold on its host; empty: it does.")
    running: str = Field(description="What the guest runs with; empty: it does not run.")
    in_force: bool
    takes: Takes


class VmTuning(Shown):
    """What a VM is asked to run with, and what it runs with."""

    profile: str
    host_profile: str
    settings: list[VmSetting]
    tuned: dict[str, str] = Field(description="Settings that the guest runs with, where they are not the default.")


class Advice(Shown):
    """One thing to try, the most useful first."""

    knob: str
    value: str
    scope: Scope
    takes: Takes
    symptom: Symptom = Field(description="What it addresses most.")
    share: float = Field(description="0..1: of all exits that is of this class, or of its time that the VM waits so.")
    gain: float = Field(description="0..1: what may go away at best; a judgement, by which the advice is in order, and no promise.")
    why: str
    risk: str
    measured: str


class VmAdvice(Shown):
    exits_s: float = Field(description="VM exits a second in the period that was looked at; 0: none, or the VM is emulated.")
    symptoms: dict[str, float] = Field(description="Exits a second by class, as far as counters tell.")
    seconds: float = Field(description="Of the period; 0: nothing has been counted yet.")
    advice: list[Advice]


def show_knob(knob: ModelKnob) -> Knob:
    return Knob(
        name=knob.name,
        subject=knob.subject,
        scope=knob.scope,
        what=knob.what,
        changes=list(knob.changes),
        takes=knob.takes,
        means=knob.means,
        choices=[KnobChoice(value=one.value, what=one.what, needs=[need.value for need in one.needs]) for one in knob.choices],
        numbers=None
        if knob.numbers is None
        else KnobNumbers(least=knob.numbers.least, most=knob.numbers.most, unit=knob.numbers.unit, needs=[need.value for need in knob.numbers.needs]),
        default=knob.default,
        risk=knob.risk,
        guest=knob.guest,
        measured=knob.measured,
    )


def show_profile(profile: ModelProfile) -> Profile:
    return Profile(name=profile.name, what=profile.what, vm=dict(profile.vm), host=dict(profile.host), risk=profile.risk)


def show_advice(one: ModelAdvice) -> Advice:
    knob = one.knob
    return Advice(
        knob=knob.name,
        value=one.value,
        scope=knob.scope,
        takes=knob.takes,
        symptom=one.symptom,
        share=one.share,
        gain=one.gain,
        why=one.why,
        risk=knob.risk,
        measured=knob.measured,
    )
