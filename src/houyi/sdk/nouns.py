"""What can be asked of each noun, once for both clients: lists, watches and `show` come from calls.py."""

from datetime import datetime
from typing import Any

from houyi.model.vm import StopMode
from houyi.sdk.calls import Call, method, nothing
from houyi.sdk.paths import path
from houyi.wire.v1.exits import VmExits, VmExitsAsk
from houyi.wire.v1.experiment import Experiment, ExperimentCreate
from houyi.wire.v1.host import Host, HostDrainPlan, HostUpdate
from houyi.wire.v1.host_report import HostReport
from houyi.wire.v1.image import Image, ImageCreate, ImageUpdate
from houyi.wire.v1.join_token import JoinTokenCreate, JoinTokenCreated
from houyi.wire.v1.latency import VmLatency, VmLatencyAsk
from houyi.wire.v1.migration import Migration, MigrationPlan, VmMigrate
from houyi.wire.v1.network import Network, NetworkCreate
from houyi.wire.v1.operation import Operation
from houyi.wire.v1.placement import Placement
from houyi.wire.v1.placement_group import PlacementGroup, PlacementGroupCreate
from houyi.wire.v1.pool import Pool, PoolCreate
from houyi.wire.v1.project import Project, ProjectCreate
from houyi.wire.v1.ssh_key import SshKey, SshKeyCreate
from houyi.wire.v1.telemetry import TelemetryHistory, TelemetryNow
from houyi.wire.v1.token import TokenCreate, TokenCreated
from houyi.wire.v1.tuning import VmAdvice, VmTuning
from houyi.wire.v1.vm import Ticket, TicketCreate, Vm, VmCreate, VmRehearsal, VmStop, VmUpdate
from houyi.wire.v1.vm_type import VmType, VmTypeCreate, VmTypeUpdate


def _operation(content: Any) -> Operation:
    return Operation.model_validate(content)


def _matching(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}


class VmPlacementCalls:
    """Where a VM would go, and why; nothing is written."""

    @method
    def rehearse(self, vm: VmCreate) -> Call[VmRehearsal]:
        """All checks of `create`, and where the VM would go; makes nothing."""
        return Call("POST", path("vms"), VmRehearsal.model_validate, vm, {"dry_run": True})

    @method
    def placement(self, vm: str) -> Call[Placement]:
        """Where it would be placed now, and why; host by host for administrators."""
        return Call("GET", path("vms", vm, "placement"), Placement.model_validate)


class VmTelemetryCalls:
    """What VMs did, as their hosts counted it."""

    @method
    def telemetry_now(self, *, host: str | None = None) -> Call[TelemetryNow]:
        """The newest period of every VM that runs. :param host: only VMs on it (name or id)."""
        return Call("GET", path("telemetry"), TelemetryNow.model_validate, params={"host": host})

    @method
    def telemetry(self, vm: str, *, since: datetime | None = None, step_seconds: float = 0.0) -> Call[TelemetryHistory]:
        """Periods of one VM, oldest first. :param since: with a time zone; None: all that there is. :param step_seconds: that one item covers at least."""
        params = {"since": None if since is None else since.isoformat(), "step": step_seconds or None}
        return Call("GET", path("vms", vm, "telemetry"), TelemetryHistory.model_validate, params=params)

    @method
    def exits(self, vm: str, seconds: float = 10.0) -> Call[VmExits]:
        """What makes it exit, by reason, with the time spent; answers after `seconds` (60 at most). :raise Conflict: `no_vm_exits`: it runs under TCG."""
        return Call("POST", path("vms", vm, "exits"), VmExits.model_validate, VmExitsAsk(seconds=seconds))

    @method
    def latency(self, vm: str, seconds: float = 10.0) -> Call[VmLatency]:
        """How long requests to its disks take; answers after `seconds` (60 at most)."""
        return Call("POST", path("vms", vm, "latency"), VmLatency.model_validate, VmLatencyAsk(seconds=seconds))


class VmTuningCalls:
    """What it is tuned to, and what would help it; `VmUpdate.profile` and `knobs` tune it."""

    @method
    def advice(self, vm: str) -> Call[VmAdvice]:
        """What could be tuned for what it did in its newest period, the most useful first."""
        return Call("GET", path("vms", vm, "advice"), VmAdvice.model_validate)

    @method
    def traced_advice(self, vm: str, seconds: float = 10.0) -> Call[VmAdvice]:
        """The same for what its exits are about by reason, traced for so long. :raise Conflict: `no_vm_exits`."""
        return Call("POST", path("vms", vm, "advice"), VmAdvice.model_validate, VmExitsAsk(seconds=seconds))

    @method
    def tuning(self, vm: str) -> Call[VmTuning]:
        """What it is asked to run with on its host, where each setting comes from, and what it runs with. `VmUpdate.profile` and `knobs` change it."""
        return Call("GET", path("vms", vm, "tuning"), VmTuning.model_validate)


class VmCalls(VmPlacementCalls, VmTelemetryCalls, VmTuningCalls):
    """Virtual machines. A verb answers an Operation, which `client.operations.wait` follows."""

    @method
    def create(self, vm: VmCreate) -> Call[Operation]:
        """:raise NoCapacity: with what was asked and what is left. :raise Conflict: `name_taken`, `image_not_ready` ..."""
        return Call("POST", path("vms"), _operation, vm)

    @method
    def update(self, vm: str, changes: VmUpdate, *, revision: int | None = None) -> Call[Vm]:
        """:param revision: only if it is still this one. :raise Stale: it is not."""
        return Call("PATCH", path("vms", vm), Vm.model_validate, changes, headers=_matching(revision))

    @method
    def delete(self, vm: str, *, revision: int | None = None) -> Call[Operation]:
        """Power it off and remove it with its disk. :raise Conflict: `vm_protected`."""
        return Call("DELETE", path("vms", vm), _operation, headers=_matching(revision))

    @method
    def start(self, vm: str) -> Call[Operation]:
        return Call("POST", path("vms", vm, "start"), _operation)

    @method
    def stop(self, vm: str, *, force: bool = False, grace_seconds: int = 60) -> Call[Operation]:
        """The power button first, powered off after the grace period; with `force` at once."""
        how = VmStop(mode=StopMode.FORCE) if force else VmStop(mode=StopMode.GRACEFUL, grace_seconds=grace_seconds)
        return Call("POST", path("vms", vm, "stop"), _operation, how)

    @method
    def reboot(self, vm: str) -> Call[Operation]:
        return Call("POST", path("vms", vm, "reboot"), _operation)

    @method
    def reset(self, vm: str) -> Call[Operation]:
        return Call("POST", path("vms", vm, "reset"), _operation)

    @method
    def pause(self, vm: str) -> Call[Operation]:
        return Call("POST", path("vms", vm, "pause"), _operation)

    @method
    def resume(self, vm: str) -> Call[Operation]:
        return Call("POST", path("vms", vm, "resume"), _operation)

    @method
    def migrate(self, vm: str, how: VmMigrate | None = None) -> Call[Operation]:
        """Move it to another host. :raise Conflict: why it cannot move. :raise NoCapacity: no other host can take it."""
        return Call("POST", path("vms", vm, "migrate"), _operation, how)

    @method
    def ticket(self, vm: str, ask: TicketCreate) -> Call[Ticket]:
        """Opens one websocket of the VM's console or display, once, within 30 seconds, without a token: for browsers."""
        return Call("POST", path("vms", vm, "tickets"), Ticket.model_validate, ask)


class VmTypeCalls:
    """Sizes by name; administrators change them."""

    @method
    def create(self, vm_type: VmTypeCreate) -> Call[VmType]:
        return Call("POST", path("vm-types"), VmType.model_validate, vm_type)

    @method
    def update(self, vm_type: str, changes: VmTypeUpdate) -> Call[VmType]:
        return Call("PATCH", path("vm-types", vm_type), VmType.model_validate, changes)

    @method
    def delete(self, vm_type: str) -> Call[None]:
        return Call("DELETE", path("vm-types", vm_type), nothing)


class ImageCalls:
    """Disk images. `create` with a url is all; without, `upload` brings the content."""

    @method
    def create(self, image: ImageCreate) -> Call[Operation]:
        """:return: the import's operation; its target_id is the image."""
        return Call("POST", path("images"), _operation, image)

    @method
    def update(self, image: str, changes: ImageUpdate) -> Call[Image]:
        return Call("PATCH", path("images", image), Image.model_validate, changes)

    @method
    def delete(self, image: str) -> Call[Operation]:
        """:raise Conflict: `image_in_use`."""
        return Call("DELETE", path("images", image), _operation)


class NetworkCalls:
    @method
    def create(self, network: NetworkCreate) -> Call[Network]:
        return Call("POST", path("networks"), Network.model_validate, network)

    @method
    def delete(self, network: str) -> Call[None]:
        """:raise Conflict: `in_use`."""
        return Call("DELETE", path("networks", network), nothing)


class PoolCalls:
    """Hosts among which any VM may move; `HostUpdate.pool` puts a host into one, `VmCreate.pool` keeps a VM in one."""

    @method
    def create(self, pool: PoolCreate) -> Call[Pool]:
        return Call("POST", path("pools"), Pool.model_validate, pool)

    @method
    def delete(self, pool: str) -> Call[None]:
        """:raise Conflict: `pool_in_use`: hosts are in it, or VMs were made for it."""
        return Call("DELETE", path("pools", pool), nothing)


class PlacementGroupCalls:
    """VMs that shall be near each other, or apart; `VmCreate.placement_group` names one."""

    @method
    def create(self, group: PlacementGroupCreate) -> Call[PlacementGroup]:
        return Call("POST", path("placement-groups"), PlacementGroup.model_validate, group)

    @method
    def delete(self, group: str) -> Call[None]:
        """:raise Conflict: `placement_group_in_use`: a VM is in it."""
        return Call("DELETE", path("placement-groups", group), nothing)


class HostCalls:
    """The machines; administrators only."""

    @method
    def update(self, host: str, changes: HostUpdate) -> Call[Host]:
        """Cordon, uncordon, label."""
        return Call("PATCH", path("hosts", host), Host.model_validate, changes)

    @method
    def report(self, host: str) -> Call[HostReport]:
        """What it can do for VMs and what costs performance there, the most useful advice first. :raise NotFound: `host_report_not_found`: it has not said yet."""
        return Call("GET", path("hosts", host, "report"), HostReport.model_validate)

    @method
    def plan_drain(self, host: str) -> Call[HostDrainPlan]:
        """What `drain` would do now; does nothing."""
        return Call("POST", path("hosts", host, "drain"), HostDrainPlan.model_validate, params={"dry_run": True})

    @method
    def drain(self, host: str) -> Call[Operation]:
        """Move every VM away and let none come, until it is uncordoned. Its operation ends when the host is empty."""
        return Call("POST", path("hosts", host, "drain"), _operation)

    @method
    def remove(self, host: str, *, lost: bool = False) -> Call[None]:
        """:param lost: its machine will never run again. :raise Conflict: `host_has_vms`, `host_has_moves`, `host_not_lost`."""
        return Call("DELETE", path("hosts", host), nothing, params={"lost": lost})


class MigrationCalls:
    """Moves of VMs, under way and ended: what was expected of them and what became of it. `client.vms.migrate` begins one."""

    @method
    def plan(self, vm: str, how: VmMigrate | None = None) -> Call[MigrationPlan]:
        """All checks of `vms.migrate`, where the VM would go and what stands against it; moves nothing."""
        return Call("POST", path("vms", vm, "migrate"), MigrationPlan.model_validate, how, {"dry_run": True})

    @method
    def cancel(self, migration: str) -> Call[Migration]:
        """As long as the VM lives at its source, where it goes on. :raise Conflict: `migration_ended`, `migration_settled`."""
        return Call("POST", path("migrations", migration, "cancel"), Migration.model_validate)


class ExperimentCalls:
    """Changes of a VM's settings, tried and measured."""

    @method
    def begin(self, vm: str, experiment: ExperimentCreate) -> Call[Operation]:
        """:raise Conflict: `vm_not_running`, `vm_under_experiment`, `nothing_to_try`, `knob_refused`, `restart_needed`. :raise Invalid: `workload_invalid` ..."""
        return Call("POST", path("vms", vm, "experiments"), _operation, experiment)

    @method
    def cancel(self, experiment: str) -> Call[Experiment]:
        """The VM gets back the settings that it had. :raise Conflict: `experiment_ended`, `experiment_settled`."""
        return Call("POST", path("experiments", experiment, "cancel"), Experiment.model_validate)


class SshKeyCalls:
    @method
    def create(self, key: SshKeyCreate) -> Call[SshKey]:
        return Call("POST", path("ssh-keys"), SshKey.model_validate, key)

    @method
    def delete(self, key: str) -> Call[None]:
        return Call("DELETE", path("ssh-keys", key), nothing)


class ProjectCalls:
    @method
    def create(self, project: ProjectCreate) -> Call[Project]:
        return Call("POST", path("projects"), Project.model_validate, project)

    @method
    def delete(self, project: str) -> Call[None]:
        """:raise Conflict: `in_use`: it has VMs, images or networks."""
        return Call("DELETE", path("projects", project), nothing)


class TokenCalls:
    @method
    def create(self, token: TokenCreate) -> Call[TokenCreated]:
        """The answer's `token` is shown this once."""
        return Call("POST", path("tokens"), TokenCreated.model_validate, token)

    @method
    def revoke(self, token: str) -> Call[None]:
        return Call("DELETE", path("tokens", token), nothing)


class JoinTokenCalls:
    @method
    def create(self, ask: JoinTokenCreate) -> Call[JoinTokenCreated]:
        """The answer's `token` is shown this once; it lets one host join."""
        return Call("POST", path("join-tokens"), JoinTokenCreated.model_validate, ask)

    @method
    def revoke(self, token: str) -> Call[None]:
        return Call("DELETE", path("join-tokens", token), nothing)


class OperationCalls:
    @method
    def cancel(self, operation: str) -> Call[Operation]:
        """:raise Conflict: `operation_ended`, `not_cancellable`."""
        return Call("POST", path("operations", operation, "cancel"), _operation)

    @method
    def look(self, operation: str, wait_seconds: float) -> Call[Operation]:
        """Show it when it has ended, or after at most `wait_seconds` (60 at most) as it is."""
        return Call("GET", path("operations", operation), _operation, params={"wait": round(wait_seconds, 2)})
