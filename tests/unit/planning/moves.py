"""Migrations for the tests of planning."""

from houyi.model.ids import HostId, MigrationId, OperationId, ProjectId, VmId
from houyi.model.migration import End, Landing, Migration, MigrationCourse, MigrationKind, MigrationSpec, MigrationState, ObservedMove, Order, Presence, Terms

LANDING = Landing(address="10.0.0.2", port=7483, tls_name="b.hosts.houyi", domain_xml="<domain/>")


def seen(end: End, presence: Presence, order: Order, **more: object) -> ObservedMove:
    return ObservedMove(id=MigrationId("m"), end=end, presence=presence, order=order, **more)  # type: ignore[arg-type]


def move(
    state: MigrationState = MigrationState.MOVING,
    *,
    source: ObservedMove | None = None,
    destination: ObservedMove | None = None,
    kind: MigrationKind = MigrationKind.LIVE,
    cancelled: bool = False,
    priority: int = 0,
    id_: str = "m",
    orders: dict[End, Order] | None = None,
    terms: Terms | None = None,
) -> Migration:
    given = {End.SOURCE: Order.MOVE, End.DESTINATION: Order.PREPARE} if orders is None else orders
    return Migration(
        id=MigrationId(id_),
        project_id=ProjectId("p"),
        vm_id=VmId("v"),
        vm_name="web",
        source_id=HostId("a"),
        destination_id=HostId("b"),
        epoch=2,
        operation_id=OperationId("o"),
        spec=MigrationSpec(kind=kind, terms=terms or Terms(), cancelled=cancelled, priority=priority),
        course=MigrationCourse(state=state, orders=given, began_at=100.0, moved_at=110.0),
        forecast=None,
        source=source,
        destination=destination,
        source_heard=True,
        destination_heard=True,
        created_at=1.0,
        revision=1,
    )
