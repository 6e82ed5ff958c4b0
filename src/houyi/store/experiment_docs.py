"""The document of an experiment's wish."""

from dataclasses import dataclass, replace

from houyi.model.experiment import ExperimentSpec
from houyi.model.ids import OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedExperiment:
    vm_name: str
    """As it was when the experiment was asked for."""
    operation_id: OperationId
    spec: ExperimentSpec

    def with_spec(self, spec: ExperimentSpec) -> "AskedExperiment":
        return replace(self, spec=spec)
