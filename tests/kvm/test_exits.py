"""What we say of a VM's exits is what `perf kvm stat` records on the very same seconds."""

import re
from collections import Counter
from datetime import datetime

import pytest

from real.labs import Lab

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(1800)]

NAME = "exiting"
START_SECONDS = 240
SECONDS = 12
RECORDED_SECONDS = 40
"""Longer than ours on both sides: beginning takes seconds on an emulated CPU."""
RECORD = "nohup perf kvm stat record -k mono -p {pid} -o /tmp/exits.data sleep {seconds} >/tmp/exits.said 2>&1 & sleep 8"
EVENTS = "perf script -i /tmp/exits.data -F time,event,trace 2>/tmp/exits.why | grep kvm:kvm_exit || cat /tmp/exits.said /tmp/exits.why"
OFFSET = "import time; print(time.time() - time.monotonic())"
WITHIN = 0.05
FEW = 40
"""Of a reason that came no more often, one more or less at the edges is no difference."""
_EVENT = re.compile(r"\s*([0-9]+\.[0-9]+):\s+kvm:kvm_exit:.*?reason (\S+)")


@pytest.fixture(scope="module")
def guest(nested: Lab) -> str:
    nested.houyi("vm", "create", NAME, "--image", "tiny", "--vcpus", "1", "--memory", "128M", "--disk", "1G", "--network", "lab", seconds=START_SECONDS)
    nested.until(lambda: nested.houyi("vm", "log", NAME).stdout, lambda text: "login" in text or "#" in text, START_SECONDS)
    return str(nested.vm(NAME)["id"])


def recorded(nested: Lab, began_at: float, seconds: float) -> Counter[str]:
    """By reason, what perf has recorded in those seconds."""
    began = began_at - float(nested.on("m1", "python3", "-c", OFFSET))
    said = nested.on("m1", "sh", "-c", EVENTS)
    found = [_EVENT.match(line) for line in said.splitlines()]
    assert any(found), f"perf recorded no exits: {said[-2000:]}"
    return Counter(one[2] for one in found if one is not None and began <= float(one[1]) <= began + seconds)


def test_exits_by_reason_are_those_that_perf_records(nested: Lab, guest: str) -> None:
    pid = nested.on("m1", "cat", f"/run/libvirt/qemu/houyi-{guest}.pid").strip()
    nested.on("m1", "sh", "-c", RECORD.format(pid=pid, seconds=RECORDED_SECONDS))
    ours = nested.ask("vm", "exits", NAME, "--by-reason", "--seconds", str(SECONDS))
    nested.until(lambda: nested.on("m1", "sh", "-c", "pgrep -c perf || true").strip(), lambda count: count == "0", 120)
    theirs = recorded(nested, datetime.fromisoformat(ours["began_at"]).timestamp(), ours["seconds"])
    assert ours["dropped"] == 0
    assert theirs.total() > 100, theirs
    assert ours["count"] == pytest.approx(theirs.total(), rel=WITHIN), (ours, theirs)
    counted = {one["reason"]: one["count"] for one in ours["reasons"]}
    for reason, count in theirs.items():
        assert counted.get(reason, 0) == pytest.approx(count, rel=WITHIN, abs=FEW * WITHIN), (reason, counted, theirs)
    spent = sum(one["outside_ns"] for one in ours["reasons"]) / 1e9
    assert 0 < spent <= ours["seconds"] * 1.05, "one vCPU cannot be outside for longer than it was looked at"


def test_nothing_of_it_stays_in_the_kernel(nested: Lab, guest: str) -> None:
    nested.ask("vm", "exits", NAME, "--by-reason", "--seconds", "1")
    assert nested.on("m1", "ls", "/sys/kernel/tracing/instances").split() == []
    assert nested.on("m1", "cat", "/sys/kernel/tracing/synthetic_events").split() == []


def test_what_libvirt_counts_is_told_all_the_time(nested: Lab, guest: str) -> None:
    period = nested.until(lambda: [one for one in nested.ask("vm", "top") if one["vm_name"] == NAME and one["exits_s"] > 0], lambda found: bool(found), 90)[0]
    assert period["kvm"]
    assert period["exits"]["exits"] >= period["exits"].get("halt_exits", 0.0)
    history = nested.ask("vm", "exits", NAME)
    assert (history["source"], history["vm_id"]) == ("ring", guest)
    assert any(one["exits_s"] > 0 for one in history["items"])
