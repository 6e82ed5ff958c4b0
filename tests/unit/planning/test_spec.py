"""What a VM may be asked to be: the ends of every range."""

from typing import Any

import pytest

from houyi.model.errors import HouyiError, TooLarge
from houyi.model.ids import NetworkId
from houyi.model.vm import NicSpec, VmSpec
from houyi.planning.spec import (
    DISK_GIB_MAX,
    LABELS_MAX,
    MEMORY_MIB_MAX,
    MEMORY_MIB_MIN,
    NICS_MAX,
    SSH_KEYS_BYTES_MAX,
    USER_DATA_BYTES_MAX,
    VCPUS_MAX,
    check_spec,
)
from made import an_image

NIC = NicSpec(network_id=NetworkId("n"))


def spec(**values: Any) -> VmSpec:
    return VmSpec(**{"image_id": an_image().id, "vcpus": 1, "memory_mib": 128, "disk_gib": 1} | values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"vcpus": VCPUS_MAX},
        {"memory_mib": MEMORY_MIB_MIN},
        {"memory_mib": MEMORY_MIB_MAX},
        {"disk_gib": DISK_GIB_MAX},
        {"nics": (NIC,) * NICS_MAX},
        {"cpu_model": "Skylake-Server-v5"},
        {"user_data": "x" * USER_DATA_BYTES_MAX},
        {"ssh_keys": ("k" * (SSH_KEYS_BYTES_MAX // 2),) * 2},
        {"labels": {f"k{number}": "" for number in range(LABELS_MAX)}},
        {"labels": {"example.org/role": "Datenbank für alles"}},
    ],
)
def test_good(values: dict[str, Any]) -> None:
    check_spec(spec(**values))


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("vcpus_invalid", {"vcpus": 0}),
        ("vcpus_invalid", {"vcpus": VCPUS_MAX + 1}),
        ("memory_invalid", {"memory_mib": MEMORY_MIB_MIN - 1}),
        ("memory_invalid", {"memory_mib": MEMORY_MIB_MAX + 1}),
        ("disk_invalid", {"disk_gib": 0}),
        ("disk_invalid", {"disk_gib": DISK_GIB_MAX + 1}),
        ("nics_invalid", {"nics": (NIC,) * (NICS_MAX + 1)}),
        ("cpu_model_invalid", {"cpu_model": "host-passthrough"}),
        ("cpu_model_invalid", {"cpu_model": "host-model"}),
        ("cpu_model_invalid", {"cpu_model": "</model>"}),
        ("user_data_too_large", {"user_data": "x" * (USER_DATA_BYTES_MAX + 1)}),
        ("user_data_too_large", {"user_data": "ä" * (USER_DATA_BYTES_MAX // 2 + 1)}),
        ("ssh_keys_too_large", {"ssh_keys": ("k" * (SSH_KEYS_BYTES_MAX // 2 + 1),) * 2}),
        ("labels_invalid", {"labels": {f"k{number}": "" for number in range(LABELS_MAX + 1)}}),
        ("labels_invalid", {"labels": {"": "v"}}),
        ("labels_invalid", {"labels": {"-k": "v"}}),
        ("labels_invalid", {"labels": {"k" * 64: "v"}}),
        ("labels_invalid", {"labels": {"k": "a\nb"}}),
        ("labels_invalid", {"labels": {"k": "\x7f"}}),
        ("labels_invalid", {"labels": {"k": "v" * 256}}),
    ],
)
def test_bad(code: str, values: dict[str, Any]) -> None:
    with pytest.raises(HouyiError) as caught:
        check_spec(spec(**values))
    assert caught.value.code == code
    assert isinstance(caught.value, TooLarge) == code.endswith("_too_large")
