"""What may be asked of SSH keys."""

from dataclasses import replace

from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.control.ssh_public_key import parse_public_key
from houyi.model.ids import SshKeyId
from houyi.model.names import check_name
from houyi.model.ssh_key import SshKey
from houyi.store.rows.ssh_key import delete_ssh_key as delete_ssh_key_row
from houyi.store.rows.ssh_key import insert_ssh_key
from houyi.store.views.ssh_key import get_ssh_key


async def create_ssh_key(control: Control, ctx: Context, name: str, public_key: str) -> SshKey:
    """:raise Invalid: `name_invalid`, `ssh_key_invalid`. :raise Conflict: `name_taken`."""
    parsed = parse_public_key(public_key)
    key = SshKey(
        id=SshKeyId(control.ids.new()),
        project_id=ctx.project_id,
        name=check_name(name),
        public_key=parsed.text,
        fingerprint=parsed.fingerprint,
        created_at=control.clock.now(),
        revision=control.store.revision,
    )
    event = new_event(control, ctx, "ssh_key.create", key.id, name, parsed.fingerprint, project_id=ctx.project_id)
    revision = await control.store.apply([insert_ssh_key(key), event, *remembered(control, ctx, key)])
    return replace(key, revision=revision)


async def delete_ssh_key(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> None:
    """VMs keep the copy that they were made with."""
    key = await control.store.read(lambda c: get_ssh_key(c, reference, ctx.scope))
    event = new_event(control, ctx, "ssh_key.delete", key.id, key.name, key.fingerprint, project_id=key.project_id)
    await control.store.apply([delete_ssh_key_row(key), event], as_expected(lambda c: get_ssh_key(c, key.id, None), expected))
