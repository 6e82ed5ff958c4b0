"""/v1/experiments, and what begins one: a change of a VM's settings, tried and measured."""

from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from houyi.api.answers import shown
from houyi.api.caller import Asking, AtDesk, PlainId, Reference
from houyi.api.lists import AskedPage, AskedWatch, listed, watched
from houyi.api.once import DoneOnce
from houyi.api.routes import STREAM
from houyi.control.commands.experiment import ExperimentAsk, cancel_experiment, try_tuning
from houyi.control.control import Context
from houyi.model.experiment import ENDED, Workload
from houyi.model.experiment import Experiment as ModelExperiment
from houyi.model.operation import Operation as ModelOperation
from houyi.planning.tuning.course import progress_of_experiment
from houyi.planning.tuning.series import runs_max
from houyi.store.views.experiment import experiments_by_id, get_experiment, list_experiments
from houyi.store.views.names import page_with_names
from houyi.store.views.news import news_with_names
from houyi.store.views.vm import get_vm
from houyi.wire.v1.experiment import Experiment, ExperimentCreate, ExperimentPage, show_experiment
from houyi.wire.v1.operation import Operation, show_operation
from houyi.wire.v1.shape import Nothing

router = APIRouter(tags=["experiments"])

OPERATIONS = "/v1/operations/"
EXPERIMENTS = "/v1/experiments/"


def _show(experiment: ModelExperiment, _names: dict[str, str] | None = None, *, whole: bool = False) -> Experiment:
    return show_experiment(experiment, progress_of_experiment(experiment).progress, runs_max(experiment.spec.rules), whole=whole)


def _no_names(_experiment: ModelExperiment) -> tuple[str | None, ...]:
    return ()


@router.get("/v1/experiments", response_model=ExperimentPage, responses=STREAM)
async def list_all(
    desk: AtDesk,
    asking: Asking,
    ask: AskedPage,
    watching: AskedWatch,
    vm: Annotated[str | None, Query(description="Id of a VM.", max_length=255, pattern=r"^[^\x00]*$")] = None,
    only_open: Annotated[bool, Query(alias="open", description="Only what has not ended.")] = False,
) -> Response:
    """List experiments, oldest first, or watch them."""

    def keep(one: Experiment) -> bool:
        return vm in (None, one.vm_id) and not (only_open and one.state in ENDED)

    filtered = None if vm is None and not only_open else keep
    if watching.on:
        return await watched(
            desk, asking, watching, lambda since, scope: lambda c: news_with_names(c, since, "experiment", scope, experiments_by_id, _no_names), _show, filtered
        )
    scope = asking.scope
    return await listed(
        desk, ask, lambda page: lambda c: page_with_names(c, list_experiments(c, scope, page, vm_id=vm, open_only=only_open), _no_names), _show, filtered
    )


@router.get("/v1/experiments/{experiment}", response_model=Experiment)
async def show(desk: AtDesk, asking: Asking, experiment: PlainId) -> Response:
    """Show an experiment: where it stands, every run, and the verdict."""
    return shown(_show(await desk.control.store.read(lambda c: get_experiment(c, experiment, asking.scope)), whole=True))


@router.post("/v1/experiments/{experiment}/cancel", response_model=Experiment)
async def cancel(desk: AtDesk, asking: Asking, done: DoneOnce, experiment: PlainId, body: Annotated[Nothing | None, Body()] = None) -> Response:
    """Measure no more; the VM gets back the settings that it had before."""
    found = await desk.control.store.read(lambda c: get_experiment(c, experiment, asking.scope))
    return await done.answer(lambda ctx: cancel_experiment(desk.control, ctx, found.id), _show, status=200, location=EXPERIMENTS)


@router.post("/v1/vms/{vm}/experiments", status_code=202, response_model=Operation)
async def begin(desk: AtDesk, asking: Asking, done: DoneOnce, vm: Reference, body: ExperimentCreate) -> Response:
    """Try a profile or knobs on a VM that runs: measured in interleaved runs, with the verdict better, worse, mixed or no difference."""
    ask = ExperimentAsk(
        profile=body.profile,
        knobs=body.knobs,
        workload=Workload(argv=tuple(body.command), seconds=body.seconds),
        runs=body.runs,
        main=body.measure,
        keep=body.keep,
        restart=body.restart,
        settle_seconds=body.settle_seconds,
    )
    scope = asking.scope_of(vm)
    vm_id = (await desk.control.store.read(lambda c: get_vm(c, vm, scope))).desired.id

    async def act(ctx: Context) -> ModelOperation:
        return (await try_tuning(desk.control, ctx, vm_id, ask))[1]

    return await done.answer(act, show_operation, status=202, location=OPERATIONS)
