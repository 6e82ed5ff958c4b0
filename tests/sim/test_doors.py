"""The agents' door: who may join, who may link, and that a host with a good certificate reaches nothing of another host (R9)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from houyi.agent.agent import identity_of
from houyi.control.commands.host import remove_host
from houyi.control.commands.join_token import delete_join_token
from houyi.model.errors import Forbidden
from houyi.model.vm import EffectiveState, VmState
from houyi.store.views.event import list_events
from houyi.store.views.page import EVERYTHING
from houyi.wire.agents import (
    PROTOCOL,
    Desired,
    Happening,
    Hello,
    ImageAsk,
    ImageChunk,
    Message,
    Refused,
    RenewAsk,
    RenewDone,
    Report,
    StreamData,
    Welcome,
    decode_down,
    encode,
)
from sim.whole import Agent, Platform

pytestmark = pytest.mark.anyio


async def test_a_token_is_used_once(platform: Platform) -> None:
    token = await platform.token()
    await platform.new_agent("one").join(token)
    with pytest.raises(Forbidden) as refused:
        await platform.new_agent("two").join(token)
    assert refused.value.code == "join_token_used"
    assert not identity_of(platform.agents["two"].settings).joined


async def test_tokens_that_are_none(platform: Platform) -> None:
    good = await platform.token()
    kind, id_, fingerprint, _ = good.split("_", 3)
    other = (await platform.token()).split("_", 3)[3]
    for bad in (f"{kind}_{id_}_{fingerprint}_{'x' * 43}", f"{kind}_{id_}_{fingerprint}_{other}", f"{kind}_{platform.ctx.project_id}_{fingerprint}_{other}"):
        with pytest.raises(Forbidden):
            await platform.new_agent("one").join(bad)
    with pytest.raises(Forbidden) as refused:
        await platform.new_agent("one").join(f"{kind}_{id_}_{'0' * 32}_{other}")
    assert refused.value.code == "ca_differs"
    await delete_join_token(platform.control, platform.ctx, id_)
    with pytest.raises(Forbidden):
        await platform.new_agent("one").join(good)


async def test_a_race_for_one_token_has_one_winner(platform: Platform) -> None:
    token = await platform.token()
    agents = [platform.new_agent(f"host-{number}") for number in range(5)]
    ends = await asyncio.gather(*(agent.join(token) for agent in agents), return_exceptions=True)
    assert sum(end is None for end in ends) == 1
    assert all(end is None or isinstance(end, Forbidden) for end in ends)


@asynccontextmanager
async def link(platform: Platform, agent: Agent | None, path: str = "/link") -> AsyncIterator[ClientConnection]:
    """A connection that speaks for `agent`, or for nobody."""
    context = identity_of(agent.settings).context() if agent else ssl.create_default_context(cadata=platform.server.authority.pem)
    async with connect(f"wss://127.0.0.1:{platform.server.listener.port}{path}", ssl=context, proxy=None) as socket:
        yield socket


async def heard(socket: ClientConnection, kind: type[Message]) -> Message:
    async with asyncio.timeout(10):
        while True:
            message = decode_down(await socket.recv(decode=False))
            if isinstance(message, kind):
                return message
            assert not isinstance(message, Refused), message


async def greet(socket: ClientConnection, agent: Agent, instance: str = "instance") -> None:
    await socket.send(encode(Hello(protocol=PROTOCOL, boot_id="b", instance=instance, facts=agent.sim.facts)))
    await heard(socket, Welcome)


async def test_the_link_needs_a_certificate(platform: Platform) -> None:
    async with link(platform, None) as socket:
        message = decode_down(await socket.recv(decode=False))
    assert isinstance(message, Refused)
    assert message.problem.code == "certificate_missing"


async def test_a_host_that_was_removed_joins_again(platform: Platform) -> None:
    agent = platform.new_agent("one")
    first = await platform.token()
    await agent.join(first)
    before = agent.host_id
    await agent.join(first)  # `houyi up` names the same file at every start
    assert agent.host_id == before
    await remove_host(platform.control, platform.ctx, before)
    await agent.join(await platform.token())
    assert agent.host_id != before
    agent.start()
    await platform.until(lambda: platform._connected(agent))


async def test_a_host_that_may_not_join_again_stays_what_it_was(platform: Platform) -> None:
    agent = platform.new_agent("one")
    await agent.join(await platform.token())
    before = agent.host_id
    await agent.join(await platform.token())  # its name is still taken
    assert agent.host_id == before
    token = await platform.token()
    await platform.server.kill()
    async with asyncio.timeout(5):
        await agent.join(token)  # nobody answers: it does not wait for that
    await platform.server.start()
    assert agent.host_id == before
    agent.start()
    await platform.until(lambda: platform._connected(agent))


async def test_a_certificate_of_another_platform_is_refused(platform: Platform, tmp_path: Path, other_url: str) -> None:
    async with Platform(tmp_path / "other", other_url) as other:
        stranger = other.new_agent("stranger")
        await stranger.join(await other.token())
        identity = identity_of(stranger.settings)
        context = identity.context()
        context.load_verify_locations(cadata=platform.server.authority.pem)
        with pytest.raises((websockets.WebSocketException, OSError, EOFError)):
            async with connect(f"wss://127.0.0.1:{platform.server.listener.port}/link", ssl=context, proxy=None) as socket:
                await socket.recv()


@pytest.mark.parametrize("nonsense", [b"", b"\xc1", msgspec.msgpack.encode({"type": "Desired"}), msgspec.msgpack.encode([1, 2])])
async def test_nonsense_is_refused_and_harms_nobody(platform: Platform, nonsense: bytes) -> None:
    agent = platform.new_agent("one")
    await agent.join(await platform.token())
    for path, who in (("/link", agent), ("/join", None)):
        async with link(platform, who, path) as socket:
            await socket.send(nonsense)
            message = decode_down(await socket.recv(decode=False))
            assert isinstance(message, Refused)
    agent.start()
    await platform.until(lambda: platform._connected(agent))


async def test_a_host_reaches_nothing_of_another(platform: Platform) -> None:
    victim = await platform.add_host("victim")
    await platform.add_image()
    vm_id = await platform.running("hello")
    await platform.until_answers("hello")
    before = await platform.vm("hello")
    assert before.observed is not None
    evil = platform.new_agent("evil")
    await evil.join(await platform.token())
    async with link(platform, evil) as socket:
        await greet(socket, evil)
        desired = await heard(socket, Desired)
        assert isinstance(desired, Desired)
        assert (desired.vms, desired.networks, desired.images) == ((), (), ()), "it is told nothing of others"
        lie = replace(before.observed, state=VmState.STOPPED, generation=99, epoch=99)
        load = await evil.sim.ports().probe.load()
        claim = Happening(vm_id=vm_id, kind="guest_panic", detail="a lie", at=0.0)
        await socket.send(encode(Report(serial=1, load=load, vms=(lie,), gone=(vm_id,), complete=True, events=(claim,))))
        await socket.send(encode(StreamData(stream=1, data=b"rm -rf /\n")))
        await socket.send(encode(ImageAsk(request=1, image_id=before.desired.spec.image_id, offset=0, length=10)))
        chunk = await heard(socket, ImageChunk)
        assert isinstance(chunk, ImageChunk)
        assert (chunk.data, chunk.error is not None) == (b"", True)
        await socket.send(encode(RenewAsk(csr_pem=identity_of(evil.settings).request())))
        renewed = await heard(socket, RenewDone)
        assert isinstance(renewed, RenewDone)
    identity_of(evil.settings).pair.keep(renewed.certificate_pem)
    assert evil.host_id != victim.host_id, "a certificate is renewed for who holds it"
    after = await platform.vm("hello")
    assert after.observed == before.observed
    assert after.host_id == victim.host_id
    await platform.until_state(vm_id, EffectiveState.RUNNING)
    events = (await platform.server.store.read(lambda c: list_events(c, None, EVERYTHING, target_id=vm_id))).items
    assert not [event for event in events if event.detail == "a lie" or event.actor == f"host:{evil.host_id}"]


async def test_an_old_report_is_dropped(platform: Platform) -> None:
    host = await platform.add_host("one")
    await platform.add_image()
    vm_id = await platform.running("hello")
    await host.kill()
    observed = (await platform.vm("hello")).observed
    assert observed is not None
    load = await host.sim.ports().probe.load()
    async with link(platform, host) as socket:
        await greet(socket, host, "new")
        await socket.send(encode(Report(serial=2, load=load, vms=(replace(observed, state=VmState.PAUSED),))))
        await platform.until_state(vm_id, EffectiveState.PAUSED)
        old_epoch = replace(observed, epoch=0, state=VmState.CRASHED)
        await socket.send(encode(Report(serial=3, load=load, vms=(old_epoch,))))
        await socket.send(encode(Report(serial=1, load=load, vms=(observed,))))
        message = await heard_end(socket)
    assert message is not None
    assert effective_of(await platform.vm("hello")) is VmState.PAUSED


async def heard_end(socket: ClientConnection) -> Refused | None:
    async with asyncio.timeout(10):
        try:
            while True:
                message = decode_down(await socket.recv(decode=False))
                if isinstance(message, Refused):
                    return message
        except websockets.ConnectionClosed:
            return None


def effective_of(vm: object) -> VmState:
    state: VmState = vm.observed.state  # type: ignore[attr-defined]
    return state
