"""What is counted of this host's VMs, on the agent's /metrics: the newest reading of each, as it is when somebody looks."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from houyi.agent.ledger import Ledger
from houyi.agent.telemetry import Telemeter
from houyi.model.ids import HostId
from houyi.planning.vm_metrics import FAMILIES, samples

PRESSURE = "houyi_host_pressure_seconds_total"


class VmMetrics(Collector):
    def __init__(self, host_id: HostId, telemeter: Telemeter, ledger: Ledger) -> None:
        """:param ledger: knows the names of the VMs that shall be here."""
        self._host_id, self._telemeter, self._ledger = host_id, telemeter, ledger

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is is told when it is collected."""
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for one in FAMILIES:
            kind = GaugeMetricFamily if one.gauge else CounterMetricFamily
            families[one.name] = kind(one.name, one.help, labels=("vm", "host", *one.labels))
        names = {vm.id: vm.name for vm in self._ledger.desired.vms} if self._ledger.desired else {}
        for vm_id, counters in self._telemeter.readings.items():
            for sample in samples(counters, names.get(vm_id, "")):
                families[sample.name].add_sample(sample.name, {"vm": vm_id, "host": self._host_id, **sample.labels}, sample.value, counters.at)
        pressure = CounterMetricFamily(
            PRESSURE, "That some, or all, of what could have run on the host had to wait for a resource.", labels=("resource", "kind")
        )
        for name, seconds in self._telemeter.pressure.items():
            pressure.add_metric(name.split("_"), seconds)
        return (*families.values(), pressure)
