"""Documents around moves: a move's wish, and the samples of a guest that forecasts rest on."""

from dataclasses import dataclass, replace

from houyi.model.ids import HostId, OperationId
from houyi.model.migration import Forecast, GuestSample, MigrationSpec
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


@dataclass(frozen=True, slots=True)
class Samples:
    """Of one VM, the newest last."""

    samples: tuple[GuestSample, ...]
