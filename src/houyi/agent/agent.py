"""The agent, put together from its parts; `main` gives it the machine."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TextIO

from houyi.agent.counts import Counts
from houyi.agent.credentials import MoveCredentials
from houyi.agent.dial import Dial, dial_server
from houyi.agent.door import Door
from houyi.agent.identity import Identity, join
from houyi.agent.ledger import Ledger
from houyi.agent.line_asks import LineAsks
from houyi.agent.lines import Lines
from houyi.agent.link import RECONNECT_SECONDS, Link
from houyi.agent.loop import Loop
from houyi.agent.metrics import serve_metrics
from houyi.agent.moves import MoveParts, Moves
from houyi.agent.net_door import NetDoor
from houyi.agent.pools import Pools
from houyi.agent.reports import Reports
from houyi.agent.rules import Rules
from houyi.agent.sampling import Sampler
from houyi.agent.steps import Steps
from houyi.agent.survey import Survey
from houyi.agent.telemetry import Telemeter
from houyi.agent.traces import clear
from houyi.agent.trials import Trials
from houyi.agent.tuning import Tuning
from houyi.agent.vm_metrics import VmMetrics
from houyi.base.clock import Clock
from houyi.base.config import Settings
from houyi.base.ids import Ids
from houyi.base.log import get_log
from houyi.host.port import Ports
from houyi.model.errors import Failed, HouyiError, Invalid, Unavailable
from houyi.model.host import HostFacts, move_name
from houyi.model.join_token import JoinTokenText

log = get_log(__name__)


def identity_of(settings: Settings) -> Identity:
    """Where this host's certificate is."""
    return Identity(settings.state_dir / "agent" / "identity")


async def run_agent(
    settings: Settings,
    ports: Ports,
    clock: Clock,
    ids: Ids,
    dial: Dial | None = None,
    counts: Counts | None = None,
    door: Door | None = None,
    rules: Rules | None = None,
) -> None:
    """Until cancelled; `dial` and `door` None: over the network; `counts` and `rules` None: its own. :raise Failed: `not_joined`: there is no certificate yet."""
    identity = _joined(settings)
    facts = await _facts(ports, clock)
    log.info("agent_started", accelerator=facts.accelerator.accelerator.value, reason=facts.accelerator.reason, host_id=identity.host_id())
    counts, reports, rules = counts or Counts(), Reports(), rules or Rules()
    ledger = Ledger(settings.state_dir / "agent" / "ledger")
    credentials = MoveCredentials(identity, ports.mover.credentials, clock)
    link = Link(
        identity=identity,
        credentials=credentials,
        dial=dial or dial_server(identity, settings.agent.server_host, settings.agent.server_port),
        reports=reports,
        ports=ports,
        clock=clock,
        ids=ids,
        counts=counts,
    )
    steps = Steps(ports, link.read_image, lambda: ledger.desired, clock)
    loop = Loop(ports, ledger, reports, clock, facts.boot_id, steps, counts, settings.agent.pass_seconds, rules.plan)
    door = door or NetDoor(identity, settings.agent, ports.passages, settings.run_dir / "moves")
    lines = Lines(door, clock)
    loop.serve_moves(
        Moves(
            MoveParts(
                ports=ports,
                ledger=ledger,
                reports=reports,
                steps=steps,
                door=door,
                lines=lines,
                clock=clock,
                tls_name=move_name(identity.host_id()),
                quiet=loop.quiet,
                served=loop.serve,
                plan_end=rules.plan_end,
            )
        )
    )
    telemeter = Telemeter(ports.telemetry, reports, clock, settings.agent.telemetry_seconds)
    own = settings.agent
    async with (
        serve_metrics(counts.registry, own.metrics_host, own.metrics_port, VmMetrics(identity.host_id(), telemeter, ledger)),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(loop.run(), name="loop")
        tasks.create_task(link.run(loop, facts), name="link")
        tasks.create_task(LineAsks(door, lines, ledger, reports, clock).run(), name="lines")
        tasks.create_task(credentials.run(), name="move-credentials")
        for name, part in _beside(telemeter, ports, ledger, reports, clock, loop).items():
            tasks.create_task(part, name=name)


def _beside(telemeter: Telemeter, ports: Ports, ledger: Ledger, reports: Reports, clock: Clock, loop: Loop) -> dict[str, Coroutine[None, None, None]]:
    """What goes on beside the VMs' lives, each by itself."""
    return {
        "sampler": Sampler(ports.mover.sample, ledger, reports, clock).run(),
        "telemetry": telemeter.run(),
        "trials": Trials(ports.guests, ports.telemetry, ports.tracing, ledger, reports, clock).run(),
        "tuning": Tuning(ports.tuner, ports.live_knobs, ledger, reports, clock, loop.serve).run(),
        "pool": Pools(ports.probe, ledger, reports, clock).run(),
        "survey": Survey(ports.probe, reports, clock).run(),
    }


def _joined(settings: Settings) -> Identity:
    identity = identity_of(settings)
    if not identity.joined:
        raise Failed("not_joined", "this host has not joined a platform: `houyi agent --join-file FILE`, with a token from `houyi host join-token` in FILE")
    return identity


async def _facts(ports: Ports, clock: Clock) -> HostFacts:
    """As soon as libvirt answers; what an agent that was killed has left in the kernel is gone then."""
    await clear(ports.tracing)
    while True:
        try:
            return await ports.probe.facts()
        except Unavailable as away:
            log.warning("libvirt_away", detail=away.detail)
            await clock.sleep(1.0)


async def join_platform(settings: Settings, token_text: str, clock: Clock, host_name: str) -> bool:
    """Get a certificate with a join token; waits for a server that is still starting. Returns whether the token is used up.

    A host that has joined with this very token is left as it is. With another token it joins again (its host was removed, its certificate has run out,
    or it shall belong to another platform); when that is refused it stays what it was, which may still be good.
    """
    identity = identity_of(settings)
    token = JoinTokenText.parse(token_text)
    if identity.joined and identity.joined_with == token.id:
        log.info("joined_already", host_id=identity.host_id())
        return True
    try:
        await _join(settings, identity, token, clock, host_name)
    except HouyiError as refused:
        if not identity.joined:
            raise
        log.warning("not_joined_again", code=refused.code, detail=refused.detail, host_id=identity.host_id())
        return False
    return True


async def _join(settings: Settings, identity: Identity, token: JoinTokenText, clock: Clock, host_name: str) -> None:
    for delay in (None,) if identity.joined else (*RECONNECT_SECONDS, None):
        try:
            host_id = await join(identity, settings.agent.server_host, settings.agent.server_port, token, host_name)
        except Unavailable as away:
            if delay is None:
                raise
            log.info("join_later", detail=away.detail, seconds=delay)
            await clock.sleep(delay)
        else:
            log.info("joined", host_id=host_id, name=host_name)
            return


def read_token(path: Path | None, stdin: TextIO) -> str:
    """A join token from a file, or from stdin if the path is `-` (argv is visible to every user of the machine); empty if there is no such file.

    A file that is not there is nothing bad: `houyi up` names one at every start, and the server leaves a token there only for a host that has not joined.
    :raise Invalid: `join_file_unreadable`.
    """
    if path is None:
        return ""
    try:
        return (stdin.read() if path == Path("-") else path.read_text()).strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("join_file_unreadable", f"the join token cannot be read from {path}: give a text file that this user may read ({error})") from error


def forget_token(path: Path | None) -> None:
    """Remove the file of a token that is used up, where it is a file and may be removed."""
    if path is not None and path != Path("-"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.info("join_file_left", path=str(path), detail=error.strerror)
