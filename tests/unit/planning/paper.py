"""One live move on paper: the server's and both agents' own deciders, over a libvirt, two machines and a network that are a few lines each. Thousands of lives a minute.

What is real: `planning.migration.course.decide`, `whereabouts` and `ends.plan_end`, asked as the server and the agents ask them. What is paper: an agent remembers what it
keeps in its ledger and forgets the rest when it dies; a snapshot and a report may come late, or never, but never an older one after a newer one (revisions; at most one
connection); libvirt sends, halts, finishes, and gives its copy up when it has heard that the other end has all, and resumes its copy when it hears that this failed.
tests/sim has the same with everything else that the platform is made of, a thousand times slower.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.migration import ENDED, DesiredMove, End, Migration, MigrationKind, MigrationState, ObservedMove, Order, Presence, Terms
from houyi.planning.migration.course import Act, Traffic, decide
from houyi.planning.migration.ends import EndPlan, Here, MoveMemory, MoveStep, plan_end, seen_as
from made import a_vm, an_image
from unit.planning.moves import LANDING, move

P, S = Presence, MoveStep
VM = a_vm(an_image(), epoch=2)
EXECUTES = frozenset({P.LIVE, P.SENDING})
_LOST = Problem("door_lost", "the connection was lost")

Ends = Callable[[DesiredMove, Here, MoveMemory], EndPlan]
Course = Callable[[Migration, Traffic, float], object]


@dataclass
class Snapshot:
    order: Order | None
    """None: it contains no move."""
    landing: bool
    home: bool
    """The VM is to be here."""


@dataclass
class Machine:
    """A host with its agent: what outlives the agent, what does not, and what is on its way to the server."""

    end: End
    presence: Presence
    files: bool
    snapshot: Snapshot
    memory: MoveMemory | None = None
    held: bool = False
    alive: bool = True
    """Of the agent."""
    running: bool = False
    admitted: bool = False
    prepared: bool = False
    reports: list[ObservedMove] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def died(self) -> None:
        """The agent; its memory is on its disk."""
        self.alive = self.running = self.admitted = self.prepared = False


class Paper:
    """Every random choice is of the seed. `ends` and `course` may be replaced by broken ones."""

    def __init__(self, seed: int, ends: Ends = plan_end, course: Course = decide) -> None:
        self.random, self.ends, self.course = random.Random(seed), ends, course
        self.story: list[str] = []
        self.now, self.line = 1000.0, True
        self.job = ""
        """libvirt's own attempt: '', 'sending', 'halted' (all is sent), 'arrived' (finished at the destination, its answer is under way), 'answered'."""
        self.failed = True
        """How the last attempt ended."""
        self.home = End.SOURCE
        self.move = move(MigrationState.QUEUED, orders={})
        self.move = replace(self.move, source=None, destination=None)
        self.ends_of = {
            End.SOURCE: Machine(End.SOURCE, P.LIVE, True, Snapshot(None, False, True)),
            End.DESTINATION: Machine(End.DESTINATION, P.NONE, False, Snapshot(None, False, False)),
        }
        self.source, self.destination = self.ends_of[End.SOURCE], self.ends_of[End.DESTINATION]

    # What may happen

    def live(self, faults: int, steps: int = 160) -> None:
        """Faults among the ordinary; then only the ordinary, until everything has ended."""
        when = set(self.random.sample(range(steps), faults))
        ordinary = (
            self.decide,
            self.decide,
            self.deliver,
            self.deliver,
            self.deliver,
            self.turn,
            self.turn,
            self.turn,
            self.advance,
            self.advance,
            self.say_go,
        )
        trouble = (self.kill, self.kill, self.cut, self.power, self.libvirt_dies, self.cancel, self.wait_long, self.drop)
        for number in range(steps):
            self.act(self.random.choice(trouble if number in when else ordinary))
        self.line = True
        for _ in range(200):
            self.move = replace(self.move, source_heard=True, destination_heard=True)
            for machine in self.ends_of.values():
                machine.alive = True
            for act in (self.advance, self.say_go, *[self.turn] * 6, *[self.deliver] * 4, self.decide, *[self.deliver] * 4, *[self.turn] * 6):
                self.act(act)
            if self.move.course.state in ENDED and self.at_rest():
                break
        self.check_end()

    def act(self, what: Callable[[], object]) -> None:
        self.now += self.random.uniform(0.0, 2.0)
        told = what()
        if told:
            self.story.append(f"{what.__name__}: {told}; source {self.source.presence}, destination {self.destination.presence}, {self.move.course.state}")
        executes = [machine.end for machine in self.ends_of.values() if machine.presence in EXECUTES]
        assert len(executes) < 2, self.told("it executes on both")

    def told(self, what: str) -> str:
        return "\n".join((what, *self.story[-60:]))

    # The server

    def decide(self) -> object:
        decision = self.course(self.move, Traffic(), self.now)
        if decision.course == self.move.course and decision.act is Act.NOTHING:  # type: ignore[attr-defined]
            return ""
        self.move = replace(self.move, course=decision.course)  # type: ignore[attr-defined]
        if decision.act is Act.COMMIT:  # type: ignore[attr-defined]
            self.home = End.DESTINATION
        landing = self.move.destination is not None and self.move.destination.landing is not None
        for end, machine in self.ends_of.items():
            machine.snapshots.append(Snapshot(self.move.course.orders.get(end), landing, self.home is end))
        return self.move.course.state

    def deliver(self) -> object:
        """The newest, or one that is not the newest, of what is on the way; what is older is never seen any more."""
        machine = self.ends_of[self.random.choice(list(End))]
        if not machine.alive or not self.heard(machine.end):
            return ""
        if self.random.random() < 0.5 and machine.snapshots:
            at = self.random.randrange(len(machine.snapshots))
            machine.snapshot = machine.snapshots[at]
            del machine.snapshots[: at + 1]
            if machine.snapshot.order is None and machine.memory is not None:
                machine.memory, machine.held, machine.running = None, False, False
            return f"{machine.end} is told {machine.snapshot.order}"
        if machine.reports:
            at = self.random.randrange(len(machine.reports))
            seen = machine.reports[at]
            del machine.reports[: at + 1]
            self.move = replace(self.move, source=seen) if machine.end is End.SOURCE else replace(self.move, destination=seen)
            return f"{machine.end} says {seen.presence} under {seen.order}, over {seen.over}, went {seen.went}, clean {seen.clean}"
        return ""

    def heard(self, end: End) -> bool:
        return self.move.source_heard if end is End.SOURCE else self.move.destination_heard

    # The agents

    def turn(self) -> object:
        """One look and at most one step of an agent, which may die between writing down and doing."""
        machine = self.ends_of[self.random.choice(list(End))]
        if not machine.alive:
            machine.alive = self.random.random() < 0.3
            return "up again" if machine.alive else ""
        if machine.running and self.job == "":
            self.attempt_ended()
            return f"the attempt has ended, failed {self.failed}"
        order = machine.snapshot.order
        if order is None:
            return self.lifecycle(machine)
        memory = machine.memory or MoveMemory(vm_id=VM.id)
        here = Here(
            presence=seen_as(machine.presence, order, memory),
            files=machine.files,
            held=machine.held,
            running=machine.running,
            admitted=machine.admitted,
            prepared=machine.prepared,
        )
        landing = LANDING if machine.snapshot.landing else None
        desired = DesiredMove(id=self.move.id, vm=VM, end=machine.end, order=order, kind=MigrationKind.LIVE, peer=HostId("p"), terms=Terms(), landing=landing)
        plan = self.ends(desired, here, memory)
        machine.memory = plan.memory
        self.report(machine, here, plan)
        if not plan.steps:
            return self.lifecycle(machine)
        if self.random.random() < 0.01:
            machine.died()
            self.break_way()
            return f"{machine.end} dies before {plan.steps[0]}"
        self.do(machine, plan.steps[0])
        return f"{machine.end} does {plan.steps[0]}"

    def report(self, machine: Machine, here: Here, plan: EndPlan) -> None:
        source, memory = machine.end is End.SOURCE, plan.memory
        assert machine.snapshot.order is not None
        machine.reports.append(
            ObservedMove(
                id=self.move.id,
                end=machine.end,
                presence=here.presence,
                order=machine.snapshot.order,
                busy=bool(plan.steps) or here.running,
                ready=not source and here.prepared and here.admitted and not plan.steps,
                over=source and memory.over,
                went=memory.went,
                clean=plan.clean,
                landing=None if source or memory.landing is None else memory.landing,
                error=memory.error,
            )
        )

    def do(self, machine: Machine, step: MoveStep) -> None:
        memory = machine.memory
        assert memory is not None
        match step:
            case S.HOLD:
                machine.held = True
            case S.PREPARE:
                machine.prepared = machine.files = True
            case S.ADMIT:
                machine.admitted, machine.memory = True, replace(memory, landing=LANDING)
            case S.SEND:
                machine.running, self.failed = True, True
                if self.line and self.destination.alive and self.destination.admitted and machine.presence is P.LIVE and self.destination.presence is P.NONE:
                    self.job, machine.presence, self.destination.presence = "sending", P.SENDING, P.INCOMING
            case S.ABORT:
                if self.job in ("sending", "halted"):
                    self.fail()
            case S.GO:
                self.go(machine)
            case S.SHUT:
                machine.admitted = False
                self.break_way()
            case S.RESUME:
                machine.presence = P.LIVE if machine.presence is P.HALTED else machine.presence
            case S.DESTROY:
                machine.presence = P.NONE
                if self.job:
                    self.fail()
            case S.REMOVE:
                machine.files = False
            case S.UNHOLD:
                machine.held = False

    def lifecycle(self, machine: Machine) -> object:
        """Whose VM it is runs it, if no move holds it; from its disk, if there is nothing else."""
        if machine.snapshot.home and not machine.held and machine.files and machine.presence in (P.NONE, P.OFF):
            machine.presence = P.LIVE
            return f"{machine.end} starts it"
        return ""

    def attempt_ended(self) -> None:
        self.source.running = False
        memory = self.source.memory
        if memory is not None:
            self.source.memory = replace(memory, over=True, error=_LOST if self.failed else None)

    def say_go(self) -> object:
        """By the source's attempt, as soon as its libvirt has the answer."""
        there = self.destination
        if not (
            self.source.alive and self.source.running and self.job in ("answered", "") and not self.failed and self.line and there.alive and there.admitted
        ):
            return ""
        self.go(there)
        return "GO"

    def go(self, machine: Machine) -> None:
        memory = machine.memory
        if memory is not None and not memory.withdrawn and machine.presence is P.ARRIVED:
            machine.memory, machine.presence = replace(memory, went=True), P.LIVE

    # libvirt and QEMU

    def advance(self) -> object:
        match self.job:
            case "sending":
                self.job, self.source.presence = "halted", P.HALTED
            case "halted":
                self.job, self.destination.presence = "arrived", P.ARRIVED
            case "arrived":
                self.job, self.failed = "answered", False
            case "answered":
                self.job, self.source.presence = "", P.NONE if self.source.presence is P.HALTED else self.source.presence
        return self.job

    def fail(self) -> None:
        """The attempt; where libvirt does not know whether the other end has it, it takes that for a failure: what is there does not run by itself."""
        if self.job in ("sending", "halted", "arrived"):
            self.source.presence = P.LIVE if self.source.presence in (P.SENDING, P.HALTED) else self.source.presence
            if self.destination.presence is P.INCOMING and (self.line or self.random.random() < 0.5):
                self.destination.presence = P.NONE
            self.job, self.failed = "", True

    def break_way(self) -> None:
        """The connection between the two libvirts."""
        if self.job:
            self.fail()

    # Trouble

    def kill(self) -> object:
        machine = self.ends_of[self.random.choice(list(End))]
        machine.died()
        self.break_way()
        return f"the agent of {machine.end}"

    def cut(self) -> object:
        what = self.random.randrange(3)
        if what == 0:
            self.line = not self.line
            self.break_way()
        elif what == 1:
            self.move = replace(self.move, source_heard=not self.move.source_heard)
        else:
            self.move = replace(self.move, destination_heard=not self.move.destination_heard)
        return f"{('the line', 'the source', 'the destination')[what]}"

    def power(self) -> object:
        """A host loses its power: what was defined is off, what was arriving is gone."""
        machine = self.ends_of[self.random.choice(list(End))]
        was, machine.presence = machine.presence, P.NONE if machine.presence in (P.NONE, P.INCOMING) else P.OFF
        if self.job:
            other = self.destination if machine is self.source else self.source
            if self.job != "answered" or machine is self.source:
                self.job, self.failed = "", True
                if other is self.source and other.presence in (P.SENDING, P.HALTED):
                    other.presence = P.LIVE
                elif other.presence is P.INCOMING and self.random.random() < 0.5:
                    other.presence = P.NONE
        machine.died()
        return f"{machine.end} was {was}"

    def libvirt_dies(self) -> object:
        """At the source, in the middle: nobody resumes what was halted."""
        if self.job in ("sending", "halted", "arrived"):
            halted = self.source.presence is P.HALTED
            self.fail()
            self.source.presence = P.HALTED if halted else self.source.presence
            return "the source's"
        return ""

    def cancel(self) -> object:
        self.move = replace(self.move, spec=replace(self.move.spec, cancelled=True))
        return "by its user"

    def wait_long(self) -> object:
        self.now += self.random.choice((100.0, 1000.0, 4000.0))
        return f"{self.now:.0f}"

    def drop(self) -> object:
        """All but the newest of what is on its way."""
        for machine in self.ends_of.values():
            del machine.snapshots[:-1], machine.reports[:-1]
        return "what was on its way"

    # What has to be so

    def at_rest(self) -> bool:
        return all(not machine.snapshots and not machine.held and machine.snapshot.order is None for machine in self.ends_of.values())

    def check_end(self) -> None:
        state = self.move.course.state
        assert state in ENDED, self.told(f"it does not end: {self.move.course.orders}")
        assert self.at_rest(), self.told("it is held for ever")
        here, there = (self.source, self.destination) if self.home is End.SOURCE else (self.destination, self.source)
        assert (state is MigrationState.DONE) is (self.home is End.DESTINATION), self.told("its end and its home differ")
        assert here.presence is P.LIVE, self.told("it does not run at its home")
        assert there.presence is P.NONE, self.told("something is left of it at the other host")
        assert not there.files, self.told("files of it are left at the other host")
