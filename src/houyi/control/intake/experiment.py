"""A host's words about the trials that it was asked for. What is about another's VM, or about a trial that is not under way, is dropped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.errors import Problem
from houyi.model.experiment import ENDED, Experiment, ObservedTrial
from houyi.model.ids import HostId
from houyi.store.rows.experiment import put_observed_trial
from houyi.store.views.experiment import experiments_by_id
from houyi.store.views.vm import vms_by_id

log = get_log(__name__)

_FIGURES_MAX = 512
_NAME_MAX = 80
_TEXT_MAX = 1000


async def take_trials(control: Control, host_id: HostId, trials: Sequence[ObservedTrial]) -> None:
    """Write down what is news: it is said again with every report."""
    known = await control.store.read(lambda c: experiments_by_id(c, [trial.experiment_id for trial in trials]))
    vms = await control.store.read(lambda c: vms_by_id(c, {one.vm_id for one in known.values()})) if known else {}
    mutations = []
    for trial in trials:
        experiment = known.get(trial.experiment_id)
        if experiment is None or not _awaited(experiment, trial):
            continue
        vm = vms.get(experiment.vm_id)
        if vm is None or vm.host_id != host_id:
            log.warning("report_of_strange_trial", host=host_id, experiment=trial.experiment_id)
            continue
        mutations.append(put_observed_trial(experiment, _sound(trial)))
    if mutations:
        await control.store.apply(mutations)
        control.hints.poke("experiments")


def _awaited(experiment: Experiment, trial: ObservedTrial) -> bool:
    course, told = experiment.course, experiment.trial
    return course.state not in ENDED and course.ordered and trial.number == course.trial and (told is None or told.number != trial.number)


def _sound(trial: ObservedTrial) -> ObservedTrial:
    """Hosts, and the guests that speak through them, are not trusted with the size of our records."""
    error = None if trial.error is None else Problem(trial.error.code[:40], trial.error.detail[:_TEXT_MAX])
    seconds = trial.seconds if math.isfinite(trial.seconds) and trial.seconds >= 0 else 0.0
    return replace(trial, void=trial.void[:_TEXT_MAX], error=error, seconds=seconds, counted=_figures(trial.counted), said=_figures(trial.said))


def _figures(said: Mapping[str, float]) -> Mapping[str, float]:
    whole = [(name, value) for name, value in said.items() if len(name) <= _NAME_MAX and name.isprintable() and math.isfinite(value) and value >= 0]
    return dict(sorted(whole)[:_FIGURES_MAX])
