"""The agent's /metrics, with what its VMs did, in Prometheus' text."""

import asyncio
from pathlib import Path

from houyi.agent.counts import Counts
from houyi.agent.ledger import Ledger
from houyi.agent.metrics import serve_metrics
from houyi.agent.vm_metrics import VmMetrics
from houyi.model.ids import HostId, ImageId, ProjectId
from houyi.model.vm import DesiredVm, Power, VmSpec
from houyi.planning.vm_metrics import FAMILIES
from houyi.wire.agents import Desired
from unit.agent.test_telemetry import A, B, Counting


async def asked(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


async def test_what_was_counted_can_be_scraped(tmp_path: Path) -> None:
    counting = Counting()
    counting.has(A, 100)
    counting.has(B, 7, whole=False)
    await counting.after(0)
    counts = Counts()
    ledger = Ledger(tmp_path)
    vm = DesiredVm(
        id=A,
        project_id=ProjectId("p"),
        name='he"llo',
        epoch=1,
        generation=1,
        spec=VmSpec(image_id=ImageId("i"), vcpus=1, memory_mib=64, disk_gib=1),
        power=Power.RUNNING,
    )
    ledger.keep_desired(Desired(revision=1, vms=(vm,), networks=(), images=()))
    metrics = VmMetrics(HostId("h1"), counting.telemeter, ledger)
    async with serve_metrics(counts.registry, "127.0.0.1", 0, metrics) as port:
        text = await asked(port)
    assert 'houyi_vm_info{accelerator="kvm",host="h1",name="he\\"llo",vm="a"} 1.0 1003000' in text
    lines = text.splitlines()
    assert 'houyi_vm_vcpu_exits_total{host="h1",reason="other",vcpu="0",vm="a"} 100.0 1003000' in lines, "with the time of the reading"
    assert 'houyi_host_pressure_seconds_total{kind="full",resource="io"} 0.25' in lines
    assert not any('vm="b"' in line for line in lines), "nothing whole has been read of it"
    assert {f"# TYPE {one.name} {'gauge' if one.gauge else 'counter'}" for one in FAMILIES} <= set(lines)
    async with serve_metrics(counts.registry, "127.0.0.1", 0) as port:
        assert "houyi_vm_cpu" not in await asked(port), "they end with the agent's run"
