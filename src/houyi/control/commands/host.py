"""What may be asked of hosts: join, cordon, label, remove."""

import hmac
from collections.abc import Mapping

from houyi.base.ids import digest
from houyi.control.control import Context, Control, again, as_expected, new_event
from houyi.model.errors import Conflict, Forbidden, NotFound
from houyi.model.host import Host
from houyi.model.ids import HostId, ProjectId
from houyi.model.names import check_name
from houyi.model.token import Role
from houyi.planning.spec import check_labels
from houyi.store.claims import drop_lost_landings
from houyi.store.mutation import expect
from houyi.store.rows.host import delete_host, insert_host, update_host
from houyi.store.rows.join_token import use_join_token
from houyi.store.views.host import get_host
from houyi.store.views.join_token import get_join_token


async def join_host(control: Control, token_id: str, secret: str, name: str) -> HostId:
    """Use a join token up and register the host, in one transaction.

    :raise Forbidden: `join_token_invalid` (unknown, wrong secret, expired; not said which), `join_token_used`.
    :raise Conflict: `host_name_taken`: a host that joins again under its old name must be removed first.
    """
    check_name(name, "host name")
    refusal = Forbidden("join_token_invalid", "this join token is unknown or has expired: make a new one with `houyi host join-token`")
    try:
        token = await control.store.read(lambda c: get_join_token(c, token_id))
    except NotFound:
        raise refusal from None
    if not hmac.compare_digest(token.secret_sha256, digest(secret)) or token.expires_at <= control.clock.now():
        raise refusal
    host_id = HostId(control.ids.new())
    ctx = Context(actor=f"host:{host_id}", project_id=ProjectId(""), role=Role.MEMBER)
    event = new_event(control, ctx, "host.join", host_id, name, "joined", project_id=None)
    try:
        await control.store.apply([use_join_token(token.id, host_id), insert_host(host_id, name, control.clock.now()), event])
    except Conflict as taken:
        if taken.code != "name_taken":
            raise
        raise Conflict("host_name_taken", f"there is a host {name!r} already: `houyi host remove {name}` first, or join under another name") from None
    return host_id


async def update_host_desired(
    control: Control, ctx: Context, reference: str, *, cordoned: bool | None = None, labels: Mapping[str, str] | None = None, expected: int | None = None
) -> Host:
    """Cordon (no new VMs come) or uncordon, and replace the labels. :raise Invalid: `labels_invalid`. :raise Stale: `revision_mismatch`: not at `expected`."""
    if labels is not None:
        check_labels(labels)

    async def attempt() -> Host:
        host = await control.store.read(lambda c: get_host(c, reference))
        mutation = update_host(host.id, cordoned=host.cordoned if cordoned is None else cordoned, labels=host.labels if labels is None else dict(labels))
        detail = "changed" if cordoned is None else ("cordoned" if cordoned else "uncordoned")
        event = new_event(control, ctx, "host.update", host.id, host.name, detail, project_id=None)
        await control.store.apply([mutation, event], [expect(lambda c: get_host(c, host.id), host.revision if expected is None else expected)])
        return await control.store.read(lambda c: get_host(c, host.id))

    changed = await again(attempt, codes=() if expected is not None else ("revision_mismatch",))
    control.hints.poke("placement")
    return changed


async def remove_host(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """Forget a host without VMs; its certificate is refused from now on. :raise Conflict: `in_use`: it has VMs."""
    host = await control.store.read(lambda c: get_host(c, reference))
    try:
        event = new_event(control, ctx, "host.remove", host.id, host.name, "removed", project_id=None)
        await control.store.apply([drop_lost_landings(host.id), delete_host(host.id), event], as_expected(lambda c: get_host(c, host.id), expected))
    except Conflict as used:
        if used.code != "in_use":
            raise
        raise Conflict("host_has_vms", f"host {host.name!r} has VMs: delete them first") from None
