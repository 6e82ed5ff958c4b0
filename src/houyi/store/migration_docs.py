"""The document of a move's wish."""

from dataclasses import dataclass, replace

from houyi.model.ids import HostId, OperationId
from houyi.model.migration import Forecast, MigrationSpec
from houyi.model.vm import DesiredVm


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    vm: DesiredVm
    """As it was when the move was asked, with the epoch that it is to have at the destination."""
    source_id: HostId
    destination_id: HostId
    operation_id: OperationId
    spec: MigrationSpec
    forecast: Forecast | None = None

    def with_spec(self, spec: MigrationSpec) -> "Asked":
        return replace(self, spec=spec)
