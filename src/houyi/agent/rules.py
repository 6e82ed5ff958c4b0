"""What an agent decides by: the pure functions of planning. A test that plants a bug puts another in their place, and sees whether it is caught."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from houyi.model.migration import DesiredMove
from houyi.model.vm import DesiredVm
from houyi.planning import lifecycle
from houyi.planning.lifecycle import Memory, Plan, Seen
from houyi.planning.migration import ends
from houyi.planning.migration.ends import EndPlan, Here, MoveMemory


class PlanVm(Protocol):
    def __call__(self, desired: DesiredVm, seen: Seen, memory: Memory, *, boot_id: str, now: float) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Rules:
    plan: PlanVm = lifecycle.plan
    plan_end: Callable[[DesiredMove, Here, MoveMemory], EndPlan] = ends.plan_end
