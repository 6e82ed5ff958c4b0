"""What /metrics shows: requests as they were counted, and the store, VMs, hosts and operations as they are when somebody looks."""

from collections import Counter as Counts
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from houyi.control.control import Control
from houyi.model.host import HostState, effective_host
from houyi.model.operation import OperationState
from houyi.model.vm import EffectiveState, effective
from houyi.store.views.host import list_hosts
from houyi.store.views.operation import list_operations
from houyi.store.views.page import EVERYTHING
from houyi.store.views.vm import all_vms

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures:
    """One application's."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter("houyi_api_requests", "Requests answered.", (*labels, "status"), registry=self._registry)
        self._seconds = Histogram("houyi_api_request_seconds", "Time until the answer was complete.", labels, buckets=_BUCKETS, registry=self._registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """:param route: the path's template, never the path: its values would be without number."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    async def text(self, control: Control) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry) + generate_latest(_as_registry(await _gauges(control)))


async def _gauges(control: Control) -> list[Metric]:
    vms = await control.store.read(all_vms)
    hosts = (await control.store.read(lambda c: list_hosts(c, EVERYTHING))).items
    running = (await control.store.read(lambda c: list_operations(c, None, EVERYTHING, open_only=True))).items
    figures = control.store.figures
    return [
        _by_state("houyi_vms", "VMs by state.", EffectiveState, Counts(effective(vm).value for vm in vms)),
        _by_state("houyi_hosts", "Hosts by state.", HostState, Counts(effective_host(host).value for host in hosts)),
        _by_state("houyi_operations_open", "Operations that have not ended, by state.", OperationState, Counts(one.state.value for one in running)),
        GaugeMetricFamily("houyi_store_revision", "The store's newest revision.", control.store.revision),
        GaugeMetricFamily("houyi_store_batches", "Commits since the start.", figures.batches),
        GaugeMetricFamily("houyi_store_applied", "Writes since the start; over batches: how many share a commit.", figures.applied),
        GaugeMetricFamily("houyi_store_refused", "Writes refused since the start.", figures.refused),
    ]


def _by_state(name: str, text: str, states: Iterable[str], counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in states:
        family.add_metric([str(state)], counts.get(str(state), 0))
    return family


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _as_registry(metrics: list[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(metrics))
    return registry
