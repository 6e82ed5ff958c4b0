"""What a trial's figures become, and which of them decide; words of workloads, however strange."""

import math

from hypothesis import given
from hypothesis import strategies as st

from houyi.model.experiment import ObservedTrial, Workload
from houyi.model.ids import ExperimentId
from houyi.model.series import Arm
from houyi.planning.tuning.measures import NAME_MAX, SAID_MAX, chosen, run_of, words_of

COMMAND, OBSERVED = Workload(argv=("work",)), Workload()
COUNTED = {"cpu_seconds": 4.0, "exits": 1000.0, "halt_exits": 300.0, "reason:hlt": 300.0, "vcpu_delay_seconds": 0.4, "vcpus": 2.0}


def a_trial(counted: dict[str, float], said: dict[str, float], seconds: float = 10.0) -> ObservedTrial:
    return ObservedTrial(experiment_id=ExperimentId("e"), number=1, seconds=seconds, counted=counted, said=said)


def test_per_unit_of_work() -> None:
    run = run_of(Arm.AFTER, COMMAND, a_trial(COUNTED, {"work": 50.0, "latency_us:p99": 80.0}))
    assert run.arm is Arm.AFTER
    assert (run.values["exits_per_work"], run.values["exits_per_second"], run.values["work_per_second"]) == (20.0, 100.0, 5.0)
    assert (run.values["cpu"], run.values["cpu_per_work"], run.values["steal"]) == (0.4, 0.08, 0.02)
    assert (run.values["reason:hlt_per_work"], run.values["latency_us:p99"], run.values["seconds"]) == (6.0, 80.0, 10.0)
    names = [measure.name for measure in chosen(COMMAND, "", [run, run])]
    assert names == ["exits_per_work", "cpu_per_work", "work_per_second", "steal", "latency_us:p99"]


def test_without_a_word_of_its_work_a_command_has_done_one() -> None:
    run = run_of(Arm.BEFORE, COMMAND, a_trial({"cpu_seconds": 4.0}, {}))
    assert (run.values["cpu_per_work"], run.values["work_per_second"]) == (4.0, 0.1)
    assert [measure.name for measure in chosen(COMMAND, "", [run, run])] == ["cpu_per_work", "work_per_second"]


def test_what_is_observed_is_per_second() -> None:
    run = run_of(Arm.BEFORE, OBSERVED, a_trial(COUNTED, {}))
    assert not any(name.endswith("_per_work") or name == "work_per_second" for name in run.values)
    assert [measure.name for measure in chosen(OBSERVED, "", [run, run])] == ["exits_per_second", "cpu", "steal"]


def test_the_user_chooses_what_decides() -> None:
    run = run_of(Arm.BEFORE, COMMAND, a_trial(COUNTED, {"latency_us:p99": 8.0}))
    for main in ("latency_us:p99", "steal", "reason:hlt_per_work"):
        names = [measure.name for measure in chosen(COMMAND, main, [run, run])]
        assert names[0] == main
        assert len(set(names)) == len(names)
    assert chosen(COMMAND, "nonsense", [run, run]) == ()
    assert chosen(COMMAND, "", []) == ()


def test_what_only_one_of_the_warm_up_runs_has_is_not_compared() -> None:
    whole, part = run_of(Arm.BEFORE, COMMAND, a_trial(COUNTED, {})), run_of(Arm.AFTER, COMMAND, a_trial({"cpu_seconds": 1.0}, {}))
    assert [measure.name for measure in chosen(COMMAND, "", [whole, part])] == ["cpu_per_work", "work_per_second"]


def test_words_of_workloads() -> None:
    assert words_of("") == {}
    assert words_of("hello\n") == {}
    assert words_of("starting\n 1234.5 \n\n") == {"work": 1234.5}
    assert words_of('{"work": 3}\ndone') == {}
    assert words_of('{"work": 3, "latency_us": {"p50": 1, "p99": 9.5}, "name": "x", "ok": true, "none": null, "list": [1]}') == {
        "work": 3.0,
        "latency_us:p50": 1.0,
        "latency_us:p99": 9.5,
    }
    assert words_of("NaN") == words_of("-1") == words_of("Infinity") == words_of("1" * 400) == words_of("[" * 100000) == {}
    assert words_of('{"a": {"b": {"c": 1}}}') == {}


@given(st.text(max_size=2000) | st.recursive(st.floats() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=60).map(str))
def test_whatever_a_guest_says_is_harmless(output: str) -> None:
    said = words_of(output)
    assert len(said) <= SAID_MAX
    assert all(len(name) <= NAME_MAX and math.isfinite(value) and value >= 0 for name, value in said.items())
