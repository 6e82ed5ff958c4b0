"""How long from the API call until QEMU runs, against `virsh define` and `virsh start` of the very same XML; and ten VMs at once.

    .venv/bin/python bench/start.py [--rounds 10]

Both are done in turn, on one private host (own namespaces, own libvirtd), and both end when libvirt says that the domain runs. Ours
includes what virsh is given ready-made: placement, the disk, the seed, the network; the table says how long each step takes.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

POLL_SECONDS = 0.003
LIMIT_SECONDS = 60.0


def outside(rounds: int) -> None:
    """Make the host and run `inside` in it."""
    from real.platform import platform
    from real.tiny import tiny_path

    with contextlib.contextmanager(platform)() as machine:
        machine.environment["HOUYI_SERVER__VCPU_OVERCOMMIT"] = "16"
        machine.houyi("up", "--detach")
        machine.until(machine.ready_hosts)
        machine.houyi("image", "import", "tiny", "--file", str(tiny_path()))
        token = (machine.state / "admin.token").read_text().strip()
        environment = [f"{name}={value}" for name, value in machine.environment.items()]
        argv = ["nsenter", "--target", str(machine.host.init_pid), "--net", "--mount", "--pid", "env", "-i", *environment]
        subprocess.run([*argv, f"HOUYI_API_TOKEN={token}", sys.executable, __file__, "--inside", "--rounds", str(rounds)], check=True, timeout=900)
        machine.houyi("down")


def inside(rounds: int) -> None:
    import libvirt

    from houyi.sdk.transport import Transport

    api = Transport("http://127.0.0.1:7480", _token())
    libvirt.registerErrorHandler(lambda *_: None, None)  # it would print what is asked for and not there yet
    hypervisor = libvirt.open("qemu:///system")
    _round(api, hypervisor, 0)  # the first one fetches the image and makes the network
    before = _figures()
    figures = [_round(api, hypervisor, number) for number in range(1, rounds + 1)]
    ours, accepted, theirs = (list(column) for column in zip(*figures, strict=True))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"\nAPI call until QEMU runs / virsh define + start of the same XML: median {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})\n"
    )
    _table({"API call until QEMU runs": ours, "of it, until the API answered": accepted, "virsh define + start": theirs})
    _steps(before)
    _ten(api, hypervisor, statistics.median(theirs))


def _round(api: Any, hypervisor: Any, number: int) -> tuple[float, float, float]:
    """Seconds: ours, of it until the API answered, virsh's."""
    began = time.monotonic()
    vm_id = _create(api, f"bench-{number}")
    answered = time.monotonic() - began
    try:
        _until(lambda: _runs(hypervisor, vm_id))
    except TimeoutError as error:
        raise TimeoutError(f"it does not run: {api.request('GET', f'/v1/vms/{vm_id}')}") from error
    took = time.monotonic() - began
    _until(lambda: api.request("GET", f"/v1/vms/{vm_id}")["state"] == "running")
    xml = hypervisor.lookupByUUIDString(vm_id).XMLDesc(2)  # VIR_DOMAIN_XML_INACTIVE
    api.request("POST", f"/v1/vms/{vm_id}/stop", body={"mode": "force"})
    _until(lambda: api.request("GET", f"/v1/vms/{vm_id}")["state"] == "stopped")
    virsh = _virsh(xml)
    api.request("DELETE", f"/v1/vms/{vm_id}")
    _until(lambda: not _known(hypervisor, vm_id))
    return took, answered, virsh


def _token() -> str:
    return os.environ["HOUYI_API_TOKEN"]


def _create(api: Any, name: str) -> str:
    body = {"name": name, "image": "tiny", "vcpus": 1, "memory_mib": 128, "disk_gib": 1}
    return str(api.request("POST", "/v1/vms", body=body)["target_id"])


def _runs(hypervisor: Any, vm_id: str) -> bool:
    import libvirt

    try:
        return bool(hypervisor.lookupByUUIDString(vm_id).state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    except libvirt.libvirtError:
        return False


def _known(hypervisor: Any, vm_id: str) -> bool:
    import libvirt

    try:
        hypervisor.lookupByUUIDString(vm_id)
    except libvirt.libvirtError:
        return False
    return True


def _virsh(xml: str) -> float:
    """Define and start by virsh, as a person does, then remove it. Name, id and our mark are others, so that the agent leaves it alone."""
    domain = ET.fromstring(xml)
    other = str(uuid.uuid4())
    for tag, text in (("name", f"virsh-{other[:8]}"), ("uuid", other)):
        element = domain.find(tag)
        assert element is not None
        element.text = text
    mark = domain.find("metadata")
    if mark is not None:
        domain.remove(mark)
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        file.write(ET.tostring(domain, encoding="unicode"))
        file.flush()
        began = time.monotonic()
        subprocess.run(["virsh", "-q", "define", file.name], check=True, capture_output=True)
        subprocess.run(["virsh", "-q", "start", other], check=True, capture_output=True)
        took = time.monotonic() - began
    subprocess.run(["virsh", "-q", "destroy", other], check=True, capture_output=True)
    subprocess.run(["virsh", "-q", "undefine", "--nvram", other], check=True, capture_output=True)
    return took


def _ten(api: Any, hypervisor: Any, one: float) -> None:
    """One of 128 MiB each: more vCPUs than a small host may give (`server.vcpu_overcommit`) would be refused, so the platform is started with more."""
    began = time.monotonic()
    ids = [_create(api, f"ten-{number}") for number in range(10)]
    answered = time.monotonic() - began
    times = {}
    while len(times) < 10 and time.monotonic() - began < LIMIT_SECONDS:
        for vm_id in ids:
            if vm_id not in times and _runs(hypervisor, vm_id):
                times[vm_id] = time.monotonic() - began
        time.sleep(POLL_SECONDS)
    print(f"\nTen VMs at once: {len(times)} run; all ten after {max(times.values()):.2f} s ({max(times.values()) / (10 * one):.2f} of ten times virsh),")
    print(f"the first after {min(times.values()):.2f} s; the ten API calls took {answered:.2f} s")
    for vm_id in ids:
        api.request("DELETE", f"/v1/vms/{vm_id}")
    _until(lambda: not any(_known(hypervisor, vm_id) for vm_id in ids))


STEPS = ("fetch_image", "ensure_networks", "create_disk", "write_seed", "start")


def _figures() -> dict[str, tuple[float, float]]:
    """Step -> (seconds, times) so far, from the agent's own figures."""
    text = urllib.request.urlopen("http://127.0.0.1:7482/metrics", timeout=5).read().decode()
    sums = dict(re.findall(r'houyi_agent_step_seconds_sum\{step="(\w+)"\} (\S+)', text))
    counts = dict(re.findall(r'houyi_agent_step_seconds_count\{step="(\w+)"\} (\S+)', text))
    return {name: (float(sums.get(name, 0)), float(counts.get(name, 0))) for name in STEPS}


def _steps(before: dict[str, tuple[float, float]]) -> None:
    """Where the time goes on the host."""
    print("\n| step of the agent | mean ms |\n|---|---:|")
    for name, (seconds, times) in _figures().items():
        print(f"| {name} | {1000 * (seconds - before[name][0]) / max(1.0, times - before[name][1]):.0f} |")


def _table(rows: dict[str, list[float]]) -> None:
    print("| what | median ms | min | max |\n|---|---:|---:|---:|")
    for name, values in rows.items():
        print(f"| {name} | {1000 * statistics.median(values):.0f} | {1000 * min(values):.0f} | {1000 * max(values):.0f} |")


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    inside(asked.rounds) if asked.inside else outside(asked.rounds)


if __name__ == "__main__":
    main()
