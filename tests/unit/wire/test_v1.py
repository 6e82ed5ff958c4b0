"""The public shapes: strict about what is asked, honest about what is shown, and every answer says all that the model knows."""

import dataclasses
import importlib
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.vm import GuestAgent, ObservedVm, StateReason, Vm, VmState
from houyi.wire.v1.shape import Asked, Page, Shown, rfc3339, rfc3339_or_none
from houyi.wire.v1.vm import VmCreate, VmUpdate, show_vm
from made import a_network, a_nic, a_vm, an_image

NOUNS = ("vm", "vm_type", "image", "network", "host", "operation", "project", "token", "event", "ssh_key", "join_token", "migration")


def shapes() -> list[type[BaseModel]]:
    modules = [importlib.import_module(f"houyi.wire.v1.{noun}") for noun in NOUNS]
    return [
        one for module in modules for one in vars(module).values() if isinstance(one, type) and issubclass(one, BaseModel) and one.__module__ == module.__name__
    ]


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.__name__)
def test_every_shape_is_asked_or_shown(shape: type[BaseModel]) -> None:
    assert issubclass(shape, Asked | Shown)
    assert shape.model_config["extra"] == ("forbid" if issubclass(shape, Asked) else "ignore")
    assert shape.model_config["frozen"]
    if shape.__name__.endswith("Page"):
        assert issubclass(shape, Page)


GOOD = {"name": "a", "image": "b"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"name": None},
        {"name": 5},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": "x" * 1025},
        {"vcpus": "2"},
        {"vcpus": 2.5},
        {"vcpus": True},
        {"vcpus": 1 << 60},
        {"start": "yes"},
        {"start": 1},
        {"firmware": "coreboot"},
        {"nics": [{"network": "n", "mac": "52:54:00:00:00:01"}]},
        {"nics": [{}] * 65},
        {"labels": {"a": 1}},
        {"ssh_keys": "one"},
    ],
)
def test_what_is_asked_is_strict(wrong: dict[str, object]) -> None:
    VmCreate.model_validate(GOOD)
    with pytest.raises(ValidationError):
        VmCreate.model_validate({**GOOD, **wrong})


def test_an_update_changes_only_what_it_names() -> None:
    assert VmUpdate.model_validate({"vcpus": 3}).model_dump(exclude_none=True) == {"vcpus": 3}


@given(st.floats(min_value=1.0, max_value=4e9))
def test_times_are_rfc_3339(seconds: float) -> None:
    text = rfc3339(seconds)
    assert text.endswith("Z")
    assert abs(datetime.fromisoformat(text).timestamp() - seconds) < 0.0011


def test_never_is_null() -> None:
    assert rfc3339_or_none(0.0) is None


def test_a_vm_shows_all_that_is_known() -> None:
    network, image = a_network(), an_image()
    desired = a_vm(image, "hello", nics=(a_nic(network, 1, "10.80.0.5"),), generation=4, spec={"user_data": "é", "labels": {"a": "b"}})
    observed = ObservedVm(
        id=desired.id,
        epoch=1,
        generation=3,
        state=VmState.FAILED,
        reason=StateReason.QEMU_DIED,
        stage="starting",
        progress=0.5,
        error=Problem("qemu_failed", "no"),
        error_generation=4,
        accelerator="qemu",
        guest_agent=GuestAgent.CONNECTED,
        guest_addresses=("10.80.0.5",),
        started_at=100.5,
        restarts=2,
        changed_at=101.0,
    )
    vm = Vm(desired=desired, protected=True, host_id=HostId("h"), observed=observed, host_heard=True, created_at=99.0, revision=17)
    names = {desired.project_id: "mine", image.id: "tiny", network.id: "net", "h": "h1"}
    told = json.loads(show_vm(vm, names).model_dump_json())
    assert (told["state"], told["reason"], told["error"]) == ("error", "qemu_died", {"code": "qemu_failed", "detail": "no"})
    assert (told["project_name"], told["image_name"], told["host_name"]) == ("mine", "tiny", "h1")
    assert told["nics"] == [{"network_id": network.id, "network_name": "net", "mac": "52:54:00:00:00:01", "address": "10.80.0.5"}]
    assert (told["generation"], told["observed_generation"], told["revision"], told["restarts"], told["user_data_bytes"]) == (4, 3, 17, 2, 2)
    assert (told["started_at"], told["changed_at"], told["created_at"]) == ("1970-01-01T00:01:40.500Z", "1970-01-01T00:01:41.000Z", "1970-01-01T00:01:39.000Z")
    hidden = {"image_id", "user_data", "ssh_keys", "nics"}
    assert {field.name for field in dataclasses.fields(desired.spec)} - hidden <= told.keys(), "every part of the wish is shown"


def test_a_vm_of_which_nothing_was_heard() -> None:
    vm = Vm(desired=a_vm(an_image()), protected=False, host_id=None, observed=None, host_heard=False, created_at=1.0, revision=1)
    told = show_vm(vm, {})
    assert (told.state.value, told.host_id, told.host_name, told.error, told.started_at, told.project_name) == ("pending", None, None, None, None, "")
