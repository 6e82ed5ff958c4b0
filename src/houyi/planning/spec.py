"""What a VM may be asked to be, whatever the host: ranges and shapes, each with its reason."""

import re
from collections.abc import Mapping

from houyi.model.cpu import are_words
from houyi.model.errors import Invalid, TooLarge
from houyi.model.names import check_name
from houyi.model.tuning import Scope
from houyi.model.vm import Remedy, Trouble, VmSpec
from houyi.planning.tuning.knobs import check_settings
from houyi.planning.tuning.profiles import check_profile

VCPUS_MAX = 240
"""Under q35 more needs an emulated IOMMU with interrupt remapping, which we do not configure."""
MEMORY_MIB_MIN = 32
"""Less does not even hold a kernel."""
MEMORY_MIB_MAX = 4 << 20
DISK_GIB_MAX = 64 << 10
NICS_MAX = 8
"""Root ports that the machine has for NICs."""
USER_DATA_BYTES_MAX = 64 << 10
"""Larger seeds belong behind an #include; every host keeps its VMs' user-data in memory."""
SSH_KEYS_BYTES_MAX = 64 << 10
"""Of one VM together, 80 keys of the largest usual kind: they travel with every snapshot of its host."""
CPU_FEATURES_MAX = 64
LABELS_MAX = 64
DOWNTIME_MS = range(20, 60_001)
"""Below, no move ends on any network; above, nobody would call it live."""

_CPU_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")

REMEDIES: Mapping[Trouble, tuple[Remedy, ...]] = {
    Trouble.PANIC: (Remedy.RESTART, Remedy.KEEP),
    Trouble.WATCHDOG: (Remedy.RESTART, Remedy.STOP, Remedy.KEEP),
    Trouble.IO_ERROR: (Remedy.RESUME, Remedy.KEEP, Remedy.REPORT),
    Trouble.MEMORY_FAILURE: (Remedy.REPORT, Remedy.RESTART),
}
"""What can be done about each trouble; the first is what is done unless something else is asked. A panic is a crash: unless it is named, the restart policy decides."""


def remedy(spec: VmSpec, trouble: Trouble) -> Remedy:
    """What is done about a trouble of this VM."""
    return spec.on_trouble.get(trouble, REMEDIES[trouble][0])


def check_spec(spec: VmSpec) -> None:
    """:raise Invalid: `vcpus_invalid`, `memory_invalid`, `disk_invalid`, `nics_invalid`, `cpu_model_invalid`, `cpu_features_invalid`, `labels_invalid`, `downtime_invalid`, `remedy_unsupported`,
    `profile_unknown`, `knob_unknown`, `knob_scope`, `knob_value_invalid`, `knobs_exclude`. :raise TooLarge: `user_data_too_large`, `ssh_keys_too_large`."""
    if not 1 <= spec.vcpus <= VCPUS_MAX:
        raise Invalid("vcpus_invalid", f"vcpus must be between 1 and {VCPUS_MAX}, not {spec.vcpus}")
    if not MEMORY_MIB_MIN <= spec.memory_mib <= MEMORY_MIB_MAX:
        raise Invalid("memory_invalid", f"memory_mib must be between {MEMORY_MIB_MIN} and {MEMORY_MIB_MAX}, not {spec.memory_mib}")
    if not 1 <= spec.disk_gib <= DISK_GIB_MAX:
        raise Invalid("disk_invalid", f"disk_gib must be between 1 and {DISK_GIB_MAX}, not {spec.disk_gib}")
    if len(spec.nics) > NICS_MAX:
        raise Invalid("nics_invalid", f"a VM has at most {NICS_MAX} NICs")
    if spec.cpu_model and not _CPU_MODEL.fullmatch(spec.cpu_model):
        raise Invalid("cpu_model_invalid", f"{spec.cpu_model[:64]!r} is not the name of a CPU model: see `virsh cpu-models x86_64`")
    if spec.cpu_model in ("host-passthrough", "host-model"):
        raise Invalid("cpu_model_invalid", "name a CPU model: a VM with the host's own CPU could not move to another host")
    if len(spec.user_data.encode()) > USER_DATA_BYTES_MAX:
        raise TooLarge("user_data_too_large", f"user-data is limited to {USER_DATA_BYTES_MAX} bytes: put the rest behind an #include")
    if len(spec.cpu_features) > CPU_FEATURES_MAX or not are_words(spec.cpu_features):
        raise Invalid("cpu_features_invalid", f"at most {CPU_FEATURES_MAX} CPU features, named as libvirt names them, such as avx2: see `houyi host show`")
    if sum(len(key.encode()) for key in spec.ssh_keys) > SSH_KEYS_BYTES_MAX:
        raise TooLarge(
            "ssh_keys_too_large", f"the SSH keys of a VM are limited to {SSH_KEYS_BYTES_MAX} bytes together: let a program on the guest fetch the rest"
        )
    check_remedies(spec.on_trouble)
    check_profile(spec.profile)
    check_settings(spec.knobs, Scope.VM)
    check_downtime(spec.downtime_ms_max)
    check_labels(spec.labels)
    check_labels(spec.host_labels)
    check_name(spec.storage, "storage")


def check_remedies(on_trouble: Mapping[Trouble, Remedy]) -> None:
    """:raise Invalid: `remedy_unsupported`."""
    for trouble, asked in on_trouble.items():
        if asked not in REMEDIES[trouble]:
            known = ", ".join(one.value for one in REMEDIES[trouble])
            raise Invalid("remedy_unsupported", f"about {trouble.value} it can be asked for: {known}; not {asked.value}")


def check_downtime(downtime_ms_max: int) -> None:
    """:raise Invalid: `downtime_invalid`."""
    if downtime_ms_max not in DOWNTIME_MS:
        raise Invalid("downtime_invalid", f"downtime_ms_max must be between {DOWNTIME_MS.start} and {DOWNTIME_MS.stop - 1}, not {downtime_ms_max}")


def check_labels(labels: Mapping[str, str]) -> None:
    """:raise Invalid: `labels_invalid`."""
    if len(labels) > LABELS_MAX:
        raise Invalid("labels_invalid", f"at most {LABELS_MAX} labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise Invalid("labels_invalid", f"label key {key[:80]!r} must be 1 to 63 of letters, digits, '.', '_', '/' and '-', not punctuation at an end")
        if len(value) > 255 or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise Invalid("labels_invalid", f"the value of label {key!r} must have at most 255 characters and no control characters")
