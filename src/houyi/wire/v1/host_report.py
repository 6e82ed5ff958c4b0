"""Host reports as JSON."""

from collections.abc import Sequence

from pydantic import Field

from houyi.model.host import Host
from houyi.model.host_report import Area, Item
from houyi.model.host_report import HostReport as ModelHostReport
from houyi.wire.v1.shape import Id, Shown, Time, rfc3339


class HostReportItem(Shown):
    name: str
    area: Area
    value: str = Field(description="What was found; `unknown: ` and why, where nothing was.")
    meaning: str = Field(description="What it does for VMs, or costs them.")
    advice: str | None = Field(description="What to do; null: nothing.")
    weight: int = Field(description="How much following the advice is worth, 0 to 100: an order, no measure.")


class HostReport(Shown):
    """What a host can do for VMs and what costs performance there."""

    host_id: Id
    host_name: str
    at: Time = Field(description="When the host found another state of things than before.")
    kernel: str
    items: list[HostReportItem] = Field(description="The most useful advice first, then what is well or not known.")


def show_item(item: Item) -> HostReportItem:
    return HostReportItem(name=item.name, area=item.area, value=item.value, meaning=item.meaning, advice=item.advice or None, weight=item.weight)


def show_report(host: Host, report: ModelHostReport, items: Sequence[Item]) -> HostReport:
    return HostReport(
        host_id=host.id, host_name=host.name, at=rfc3339(report.at), kernel=report.traits.kernel.release, items=[show_item(item) for item in items]
    )
