"""`houyi bench`: the commands. What they do is in local/evaluation, what is said about it in planning/evaluation."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from houyi.base.config import Settings
from houyi.cli.output import Column, Format, note, show_list, write_data
from houyi.cli.session import OPTIONS, MemoryMib, Options, noun
from houyi.model.evaluation import Evaluation

app: App = noun("bench", "Measure with programs that people trust: this machine, a container on it, a VM, a tuned VM.")

QUICK_SECONDS, SECONDS = 1, 5
QUICK_ROUNDS, ROUNDS = 3, 7


@app.command(name="list")
def list_benchmarks(
    *, output: Annotated[Format, Parameter(name=("--output", "-o"), help="table for people; json or yaml for programs.")] = Format.TABLE
) -> None:
    """List the benchmarks: what each measures, and by which command."""
    from houyi.planning.evaluation.benchmarks import BENCHMARKS, BOOT, BOOT_SHOWS, BOOT_UNIT

    rows = [
        {
            "name": one.name,
            "group": one.group,
            "unit": one.unit,
            "better": str(one.better),
            "quick": one.quick,
            "shows": one.shows,
            "command": " ".join(one.argv),
        }
        for one in BENCHMARKS
    ]
    rows.append({"name": BOOT, "group": "start", "unit": BOOT_UNIT, "better": "less", "quick": False, "shows": BOOT_SHOWS, "command": "-"})
    columns = (
        Column("NAME", lambda row: str(row["name"])),
        Column("UNIT", lambda row: str(row["unit"])),
        Column("BETTER", lambda row: str(row["better"])),
        Column("QUICK", lambda row: "yes" if row["quick"] else "no"),
        Column("SHOWS", lambda row: str(row["shows"])),
    )
    show_list(rows, columns, output, empty="none")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class How:
    """How long it is measured, and how large places are."""

    quick: Annotated[bool, Parameter(negative=(), help="A few benchmarks, briefly: to see that it works.")] = False
    seconds: Annotated[int, Parameter(help="For how long each program runs; by default 5, with --quick 1.", show_default=False)] = 0
    rounds: Annotated[
        int, Parameter(help="How often; by default 7, with --quick 3. With fewer than 3 nothing is said about differences.", show_default=False)
    ] = 0
    vcpus: Annotated[int, Parameter(help="CPUs of VMs and of the container.")] = 2
    memory: Annotated[MemoryMib, Parameter(help="Memory of VMs and of the container.")] = 512
    seed: Annotated[int, Parameter(help="Of the random order.")] = 1


HOW = How()


@app.command
def run(
    *,
    compare: Annotated[
        str,
        Parameter(
            help="Places with commas between them: machine, container, vm, vm:PROFILE (`houyi tune profiles`). The first is what others are compared with."
        ),
    ] = "machine,container,vm,vm:latency",
    host: Annotated[
        str, Parameter(help="The host (name or id) that VMs are on; by default this machine, else the only one there is.", show_default=False)
    ] = "",
    only: Annotated[str, Parameter(help="Benchmarks of `houyi bench list` with commas between them; by default all.", show_default=False)] = "",
    how: How = HOW,
    out: Annotated[Path, Parameter(help="The folder to write report.html and report.json into; it is made if it is not there.")] = Path("bench-report"),
    options: Options = OPTIONS,
) -> None:
    """Run the suite and write a report with plots, ratios and intervals. Needs root, and once `houyi image build bench`.

    VMs are made for the run and deleted after it. All programs come from one tree of Debian packages: the image of the VMs is made of it, and on the machine and in the
    container it is the root file system.
    """
    from houyi.cli.evaluation_report import write_evaluation
    from houyi.local.evaluation.run import Plan, check, evaluate
    from houyi.model.evaluation import places_of
    from houyi.planning.evaluation.benchmarks import BOOT, chosen
    from houyi.sdk import AsyncClient
    from houyi.sdk.credentials import find_login

    plan = Plan(
        places=places_of(compare),
        benchmarks=chosen(only, quick=how.quick, cpus=how.vcpus),
        boot=BOOT in only.split(",") if only else not how.quick,
        host=host,
        seconds=how.seconds or (QUICK_SECONDS if how.quick else SECONDS),
        rounds=how.rounds or (QUICK_ROUNDS if how.quick else ROUNDS),
        cpus=how.vcpus,
        memory_mib=how.memory,
        seed=how.seed,
        quick=how.quick,
    )
    check(plan)

    def connect() -> AsyncClient:
        login = find_login(options.api_url)
        return AsyncClient(login.url, login.token, project=options.project)

    table = options.output is Format.TABLE
    report = asdict(asyncio.run(_until_told(evaluate(Settings(), plan, connect, note if table else _silent))))
    page = write_evaluation(report, out)
    if not table:
        write_data(report, options.output)
        return
    _show(report)
    note(f"written: {page}, and all figures beside it in report.json")


async def _until_told(work: Coroutine[Any, Any, Evaluation]) -> Evaluation:
    """SIGTERM ends it as Ctrl-C does: everything that was made is removed first. :raise KeyboardInterrupt: it came."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _silent(text: str) -> None:
    pass


def _show(report: dict[str, object]) -> None:
    comparisons = report["comparisons"]
    assert isinstance(comparisons, list | tuple)
    columns = (
        Column("BENCHMARK", lambda one: str(one["benchmark"])),
        Column("PLACE", lambda one: str(one["place"])),
        Column("TIMES AS GOOD", lambda one: "-" if one["ratio"] is None else f"{one['ratio']:.3g}", right=True),
        Column("INTERVAL", lambda one: "-" if one["low"] is None else f"{one['low']:.3g} .. {one['high']:.3g}", right=True),
        Column("BESIDE " + str(report["reference"]).upper(), lambda one: str(one["standing"]).replace("_", " ")),
    )
    show_list(list(comparisons), columns, Format.TABLE, empty="there was nothing to compare with")
    if report["emulated"]:
        note(f"EMULATED: {report['emulated']}. Only counts and ratios mean anything here, never times.")
