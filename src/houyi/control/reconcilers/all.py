"""The list of all loops: reconcilers, and the workflows that are moved on in the same way."""

from houyi.control.reconcilers.drains import drain_hosts
from houyi.control.reconcilers.hosts import expire_hosts
from houyi.control.reconcilers.housekeeping import keep_house
from houyi.control.reconcilers.lines import measure_lines
from houyi.control.reconcilers.operations import move_operations
from houyi.control.reconcilers.placement import place_vms
from houyi.control.reconcilers.pools import settle_pools
from houyi.control.reconcilers.runner import Reconciler
from houyi.control.workflows.experiment import try_settings
from houyi.control.workflows.migrate_vm import move_vms

RECONCILERS: tuple[Reconciler, ...] = (
    Reconciler("placement", place_vms),
    Reconciler("migrations", move_vms),
    Reconciler("experiments", try_settings),
    Reconciler("drains", drain_hosts),
    Reconciler("operations", move_operations),
    Reconciler("hosts", expire_hosts),
    Reconciler("pools", settle_pools),
    Reconciler("lines", measure_lines),
    Reconciler("housekeeping", keep_house, periods=150),
)
