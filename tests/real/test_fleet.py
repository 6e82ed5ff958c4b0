"""A fleet of three real hosts, as its administrator works with it: VMs are placed apart, moved under memory load with their disks and without, drained away
from a host, and their moves cut and killed. Guests verify every page of theirs as they write it, and count.

The tests share one lab and follow each other.
"""

import re
import time
from collections.abc import Iterator

import pytest

from real.labs import LEASE_SECONDS, Lab, lab
from real.page_writer import rate
from real.writers import bring_image, create, files, goes_on, home, moves, qemus, type_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WRITES_MIB_S = 8.0
"""A line without a cap carries far more, also while others work on the same two cores."""
SLOW_MIB_S = "1"
"""A cap at which a move takes as long as it takes to break something in the middle of it, also when its memory is compressed."""
SEEN_SECONDS = LEASE_SECONDS + 30
STORAGE = {"own": "local", "lent": "shared"}
"""The two that run, and where their disks are."""
OFF = "off"
"""A VM that does not run."""


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with lab() as found:
        found.houyi("lab", "up", "--hosts", "3", "--memory", "1G")
        bring_image(found)
        found.houyi("placement-group", "create", "apart", "anti-affinity")
        for name, storage in STORAGE.items():
            create(found, name, "--group", "apart", "--storage", storage)
        create(found, OFF)
        found.houyi("vm", "stop", OFF, "--force")
        for name in STORAGE:
            goes_on(found, name, 1)
            type_in(found, name, rate(WRITES_MIB_S))
        yield found


def tidy(found: Lab) -> None:
    """Each VM is where its home is and nowhere else, and every QEMU is a VM's."""
    homes = {found.vm(name)["id"]: home(found, name) for name in (*STORAGE, OFF)}
    for host in found.states():
        found.until(lambda host=host: sorted(files(found, host)), lambda left, host=host: left == sorted(vm for vm, at in homes.items() if at == host))
    assert qemus(found) == len(STORAGE)
    assert found.on("h1", "ls", "/var/lib/shared").split() == [f"{found.vm('lent')['id']}.qcow2"]


def test_they_are_placed_apart_and_a_third_has_no_room(made: Lab) -> None:
    assert home(made, "own") != home(made, "lent")
    taken = {home(made, name) for name in STORAGE}
    (free,) = set(made.states()) - taken
    plan = made.ask("vm", "create", "third", "--image", "writer", "--vcpus", "1", "--memory", "64M", "--disk", "1G", "--group", "apart", "--dry-run")
    assert plan["host_name"] == free
    assert {host["host_name"] for host in plan["hosts"] if host["removed_by"] == "group"} == taken


def test_the_ways_between_hosts_are_measured_before_anything_moves(made: Lab) -> None:
    """To the host that is free: a plan to where its group forbids it has no forecast."""
    (free,) = set(made.states()) - {home(made, name) for name in STORAGE}
    for name in STORAGE:
        forecast = made.until(
            lambda name=name: made.ask("migration", "plan", name, "--to", free)["forecast"], lambda told: "line is assumed" not in told["why"], 150
        )
        assert forecast["inputs"]["line_all_mib_s"] >= forecast["inputs"]["line_one_mib_s"] > 0


def test_each_host_says_what_it_can_do_and_what_to_do_about_it(made: Lab) -> None:
    for host in made.states():
        report = made.until(lambda host=host: made.ask("host", "report", host), lambda told: bool(told["items"]))
        items = {one["name"]: one for one in report["items"]}
        assert {"accelerator", "vhost-net", "IOMMU", "NUMA", "huge pages"} <= items.keys()
        assert all(one["meaning"] for one in items.values())
        asked = [bool(one["advice"]) for one in report["items"]]
        assert asked == sorted(asked, reverse=True), "what there is to do comes first"


def test_how_long_its_disk_takes(made: Lab) -> None:
    told = made.ask("vm", "latency", "own", "--seconds", "4")
    (writes,) = [one for one in told["requests"] if (one["disk"], one["kind"]) == ("vda", "writes")]
    assert writes["count"] == sum(step["count"] for step in writes["histogram"]) > 0
    assert 0 < writes["p50_ms"] <= writes["p90_ms"] <= writes["p99_ms"]


@pytest.mark.parametrize("name", STORAGE)
def test_it_moves_while_it_writes(made: Lab, name: str) -> None:
    """With its disk, or without when it is shared; not to where its group forbids it; and its plan was kept."""
    source, before = home(made, name), goes_on(made, name, 0)
    plan = made.ask("migration", "plan", name)
    assert (plan["blockers"], plan["kind"]) == ([], "live")
    assert plan["destination_name"] not in {home(made, other) for other in STORAGE}
    made.houyi("vm", "migrate", name)
    assert home(made, name) == plan["destination_name"] != source
    goes_on(made, name, before + 2)
    move = moves(made, name)[-1]
    assert move["state"] == "done"
    assert move["outcome"]["total_seconds"] > 0 < move["forecast"]["total_seconds"]
    disk = move["figures"]["disk_total_mib"]
    assert disk > 0 if STORAGE[name] == "local" else disk == 0
    tidy(made)


def test_a_stopped_one_moves_with_its_disk(made: Lab) -> None:
    source = home(made, OFF)
    made.houyi("vm", "migrate", OFF)
    assert home(made, OFF) != source
    assert moves(made, OFF)[-1]["kind"] == "cold"
    tidy(made)


def test_a_host_is_drained_and_its_vms_go_on(made: Lab) -> None:
    host = home(made, "own")
    if home(made, OFF) != host:
        made.houyi("vm", "migrate", OFF, "--to", host)
    before = goes_on(made, "own", 0)
    plan = made.ask("host", "drain", host, "--dry-run")
    assert {one["vm_name"]: (one["kind"], one["blockers"]) for one in plan["vms"]} == {"own": ("live", []), OFF: ("cold", [])}
    assert made.states()[host] == "ready", "nothing is done by looking"
    told = made.houyi("host", "drain", host)
    assert "2 of 2 VMs can move" in told.stderr
    assert made.states()[host] == "maintenance"
    assert host not in {home(made, name) for name in (*STORAGE, OFF)}
    goes_on(made, "own", before + 2)
    tidy(made)
    refused = made.houyi("vm", "migrate", "own", "--to", host, code=None)
    assert refused.returncode
    assert re.search("host_not_ready|no_capacity", refused.stderr)
    made.houyi("host", "uncordon", host)
    assert made.states()[host] == "ready"


def test_a_move_that_is_cut_ends_where_it_began_or_where_it_went(made: Lab) -> None:
    """The two hosts do not hear each other any more, in the middle of it; the server hears both."""
    source, before = home(made, "own"), goes_on(made, "own", 0)
    destination = made.ask("migration", "plan", "own")["destination_name"]
    made.houyi("vm", "migrate", "own", "--no-wait", "--bandwidth-mib-s", SLOW_MIB_S)
    made.until(lambda: moves(made, "own")[-1], lambda move: move["state"] != "queued" and bool(move["figures"] and move["figures"]["memory_sent_mib"]))
    made.houyi("lab", "cut", source, "--from", destination)
    try:
        ended = made.until(lambda: moves(made, "own")[-1]["state"], lambda state: state in ("done", "failed"), 90)
    finally:
        made.houyi("lab", "heal", source)
    assert home(made, "own") == {"done": destination, "failed": source}[ended]
    made.until(lambda: made.vm("own")["state"], lambda state: state == "running")
    goes_on(made, "own", before + 2)
    tidy(made)


def test_a_destination_that_loses_power_loses_nothing(made: Lab) -> None:
    """The guest goes on at its source; what had come is gone when the host is back."""
    source, before = home(made, "own"), goes_on(made, "own", 0)
    destination = made.ask("migration", "plan", "own")["destination_name"]
    made.houyi("vm", "migrate", "own", "--no-wait", "--bandwidth-mib-s", SLOW_MIB_S)
    made.until(lambda: moves(made, "own")[-1], lambda move: bool(move["figures"] and move["figures"]["memory_sent_mib"]))
    made.houyi("lab", "kill", destination)
    made.until(lambda: made.states()[destination], lambda state: state == "unreachable", SEEN_SECONDS)
    goes_on(made, "own", before + 2, 150)
    assert qemus(made) == len(STORAGE)
    made.houyi("lab", "start", destination)
    made.until(lambda: made.states()[destination], lambda state: state == "ready", SEEN_SECONDS)
    made.until(lambda: moves(made, "own")[-1]["state"], lambda state: state == "failed", SEEN_SECONDS)
    assert home(made, "own") == source
    tidy(made)


def test_a_source_that_loses_power_has_its_vms_again(made: Lab) -> None:
    """They are unknown, never stopped, and nowhere else, until it is back and starts them anew."""
    host, started = home(made, "lent"), made.vm("lent")["started_at"]
    made.houyi("lab", "kill", host)
    made.until(lambda: made.vm("lent")["state"], lambda state: state == "unknown", SEEN_SECONDS)
    refused = made.houyi("vm", "migrate", "lent", code=None)
    assert "host_unreachable" in refused.stderr
    time.sleep(LEASE_SECONDS)
    assert (made.vm("lent")["state"], home(made, "lent")) == ("unknown", host)
    made.houyi("lab", "start", host)
    made.until(lambda: made.vm("lent"), lambda vm: vm["state"] == "running" and vm["started_at"] != started, 150)
    assert home(made, "lent") == host
    goes_on(made, "lent", 0, 150)
    tidy(made)
