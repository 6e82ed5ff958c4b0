"""Reads of SSH keys."""

from sqlalchemy import Connection, Row, select

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId, SshKeyId
from houyi.model.names import is_id
from houyi.model.ssh_key import SshKey
from houyi.store import tables
from houyi.store.store import newest_revision
from houyi.store.views.page import Ask, Page, cut, paged


def _ssh_key(row: Row[tuple[object, ...]]) -> SshKey:
    return SshKey(
        id=SshKeyId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        public_key=row.public_key,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        revision=row.revision,
    )


def get_ssh_key(connection: Connection, reference: str, project_id: ProjectId | None) -> SshKey:
    """:raise NotFound: `ssh_key_not_found`."""
    table = tables.ssh_key
    query = select(table).where((table.c.id if is_id(reference) else table.c.name) == reference)
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    row = connection.execute(query.order_by(table.c.created_at)).first()
    if row is None:
        raise NotFound("ssh_key_not_found", f"there is no SSH key {reference!r}: add one with `houyi ssh-key add NAME FILE`")
    return _ssh_key(row)


def list_ssh_keys(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[SshKey]:
    query = select(tables.ssh_key)
    if project_id is not None:
        query = query.where(tables.ssh_key.c.project_id == project_id)
    rows = connection.execute(paged(query, tables.ssh_key, ask))
    return cut([(row.created_at, row.id, _ssh_key(row)) for row in rows], newest_revision(connection), ask)
