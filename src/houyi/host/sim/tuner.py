"""Knobs of the simulated machine, and of the guests that run on it."""

from collections.abc import Mapping

from houyi.host.port_tuning import Before
from houyi.host.sim.state import SimState
from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.ids import VmId
from houyi.model.tuning import Takes
from houyi.planning.tuning.knobs import BY_NAME, allows, values_in_words


class SimTuner:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def read(self) -> Mapping[str, str]:
        self._sim.enter("read_knobs", "", libvirt=False)
        return dict(self._sim.knobs)

    async def before(self, knob: str) -> Before:
        self._sim.enter("before_knob", knob, libvirt=False)
        return {"value": self._value(knob)}

    async def set(self, knob: str, value: str) -> None:
        self._sim.enter("set_knob", knob, libvirt=False)
        self._value(knob)
        if not allows(BY_NAME[knob], value):
            raise Invalid("knob_value_invalid", f"knob {knob} cannot be {value!r}: it is one of {values_in_words(BY_NAME[knob])}")
        self._sim.knobs[knob] = value

    async def restore(self, knob: str, before: Before) -> None:
        self._sim.enter("restore_knob", knob, libvirt=False)
        if knob in self._sim.knobs:
            self._sim.knobs[knob] = before["value"]

    def _value(self, knob: str) -> str:
        if knob not in self._sim.knobs:
            raise Failed("knob_missing", f"this machine has no {knob}")
        return self._sim.knobs[knob]


class SimLiveKnobs:
    def __init__(self, sim: SimState) -> None:
        self._sim = sim

    async def turn(self, vm_id: VmId, settings: Mapping[str, str]) -> None:
        self._sim.enter("turn", vm_id)
        domain = self._sim.running(vm_id)
        if domain is None:
            raise Conflict("not_running", "the VM is not running on this host: start it first")
        for name in settings:
            if BY_NAME[name].takes is not Takes.LIVE:
                raise Failed("knob_not_live", f"knob {name} cannot be turned while the guest runs: stop the VM and start it")
        domain.tuned = {name: value for name, value in {**domain.tuned, **settings}.items() if value != BY_NAME[name].default}
