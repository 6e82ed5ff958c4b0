"""The list of all reconcilers."""

from houyi.control.reconcilers.hosts import expire_hosts
from houyi.control.reconcilers.housekeeping import keep_house
from houyi.control.reconcilers.operations import move_operations
from houyi.control.reconcilers.placement import place_vms
from houyi.control.reconcilers.runner import Reconciler

RECONCILERS: tuple[Reconciler, ...] = (
    Reconciler("placement", place_vms),
    Reconciler("operations", move_operations),
    Reconciler("hosts", expire_hosts),
    Reconciler("housekeeping", keep_house, periods=150),
)
