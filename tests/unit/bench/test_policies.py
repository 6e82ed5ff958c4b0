"""What other platforms do with a move that does not converge, in the benchmark: as their projects document it."""

import pytest

from migration.policies import NOTHING, Act, KubeVirt, Nova, Plain, Proxmox, Seen, nova_steps, others


def stuck(seconds: float, *, remaining: float = 500.0, sent: float | None = None, postcopy: bool = False) -> Seen:
    return Seen(seconds, remaining, 64.0 * seconds if sent is None else sent, postcopy)


def test_plain_does_nothing() -> None:
    assert all(Plain().look(stuck(float(second))) == NOTHING for second in range(1000))


def test_novas_steps_are_those_of_its_own_example() -> None:
    """10 steps, 30 s, 3 GiB and 400 ms, as its documentation of the steps has it."""
    steps = [(round(at), int(ms)) for at, ms in nova_steps(3, downtime_ms=400, steps=10, delay_seconds=30)]
    assert steps == [(90 * number, 40 + 36 * number) for number in range(11)]


def test_nova_steps_to_its_whole_downtime_and_then_aborts() -> None:
    policy, turned = Nova(gib=1.0), []
    assert policy.first_downtime_ms == 50.0
    for second in range(802):
        act = policy.look(stuck(float(second)))
        turned += [(second, act.downtime_ms)] if act.downtime_ms else []
        if act.abort:
            break
    assert turned == [(75 * number + 1, 50.0 + 45.0 * number) for number in range(1, 11)]
    assert second == 801


def test_novas_waits_grow_with_the_guest_and_shrink_with_patience() -> None:
    assert Nova(gib=4.0).look(stuck(801.0)).abort == ""
    assert Nova(gib=4.0, patience=0.1).look(stuck(321.0)).abort != ""


def test_nova_switches_where_it_may() -> None:
    policy = Nova(gib=1.0, postcopy=True)
    assert policy.look(stuck(801.0)) == Act(postcopy=True)
    assert policy.look(stuck(802.0, postcopy=True)) == NOTHING


def test_kubevirt_gives_up_after_no_progress_or_too_long() -> None:
    policy = KubeVirt(gib=1.0)
    assert policy.look(stuck(1.0)) == NOTHING
    assert policy.look(stuck(150.0)) == NOTHING
    assert policy.look(stuck(152.0)).abort == "stuck for 151 s"
    progressing = KubeVirt(gib=1.0)
    acts = [progressing.look(stuck(float(second), remaining=5000.0 - second)) for second in range(802)]
    assert [bool(act.abort) for act in acts] == [False] * 801 + [True]


def test_kubevirt_switches_where_it_may() -> None:
    policy = KubeVirt(gib=0.1, postcopy=True)
    assert policy.look(stuck(81.0)) == Act(postcopy=True)
    assert policy.look(stuck(82.0, postcopy=True)) == NOTHING


@pytest.mark.parametrize(("growths", "downtime_ms"), [(5, None), (6, 200.0), (12, 400.0), (18, 800.0), (24, 1600.0)])
def test_proxmox_doubles_with_every_sixth_new_round(growths: int, downtime_ms: float | None) -> None:
    policy, turned, remaining = Proxmox(), [], 500.0
    assert policy.first_downtime_ms == 100.0
    policy.look(stuck(1.0, remaining=remaining))
    for second in range(2, 2 + 2 * growths):
        remaining = 500.0 if second % 2 else 100.0
        turned.append(policy.look(stuck(float(second), remaining=remaining)).downtime_ms)
    doubled = [ms for ms in turned if ms is not None]
    assert (doubled[-1] if doubled else None) == (downtime_ms if growths % 6 or doubled else None)


def test_proxmox_looks_more_often_towards_the_end() -> None:
    policy = Proxmox()
    policy.look(stuck(1.0))
    policy.look(stuck(2.0))
    assert policy.look_seconds == 1.0
    policy.look(stuck(3.0, remaining=5.0))
    assert policy.look_seconds == 0.1


def test_each_move_begins_with_a_fresh_policy() -> None:
    assert all(make() is not make() for make in others(1.0, 1.0).values())
    assert {name for name, make in others(1.0, 1.0).items() if make().postcopy} == {"Nova, post-copy", "KubeVirt, post-copy"}
    assert {name for name, make in others(1.0, 1.0).items() if make().auto_converge} == {"Nova, auto-converge", "KubeVirt, auto-converge", "Proxmox"}
