"""The agent's own figures for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.context_managers import Timer

from houyi.model.vm import VmState


class Counts:
    """Each agent has its own registry, so that several can live in one process (tests, the simulator)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes = Counter("houyi_agent_passes", "Passes over all VMs", registry=self.registry)
        self.connected = Gauge("houyi_agent_connected", "Whether the link to the server is up", registry=self.registry)
        self.connects = Counter("houyi_agent_connects", "Times that the link was made", registry=self.registry)
        self.vms = Gauge("houyi_agent_vms", "VMs on this host by state", ["state"], registry=self.registry)
        self._steps = Histogram("houyi_agent_step_seconds", "Duration of the steps of a VM's life", ["step"], registry=self.registry)
        self.failures = Counter("houyi_agent_step_failures", "Steps that failed for good", ["step", "code"], registry=self.registry)
        self.unlawful = Counter(
            "houyi_agent_unlawful_transitions",
            "States of a VM that the table of the model does not let follow: a bug",
            ["before", "after"],
            registry=self.registry,
        )

    def step(self, name: str) -> Timer:
        return self._steps.labels(name).time()

    def set_states(self, counted: dict[VmState, int]) -> None:
        for state, count in counted.items():
            self.vms.labels(state.value).set(count)
