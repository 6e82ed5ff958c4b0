"""Reads of SSH keys."""

from typing import Any

from sqlalchemy import Connection, Row

from houyi.model.errors import NotFound
from houyi.model.ids import ProjectId, SshKeyId
from houyi.model.ssh_key import SshKey
from houyi.store import tables
from houyi.store.views.page import Ask, Page
from houyi.store.views.plain import Plain


def _ssh_key(row: Row[Any]) -> SshKey:
    return SshKey(
        id=SshKeyId(row.id),
        project_id=ProjectId(row.project_id),
        name=row.name,
        public_key=row.public_key,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        revision=row.revision,
    )


_SSH_KEYS = Plain(
    tables.ssh_key, _ssh_key, lambda reference: NotFound("ssh_key_not_found", f"there is no SSH key {reference!r}: add one with `houyi ssh-key add NAME FILE`")
)


def get_ssh_key(connection: Connection, reference: str, project_id: ProjectId | None) -> SshKey:
    """:raise NotFound: `ssh_key_not_found`."""
    return _SSH_KEYS.get(connection, reference, project_id)


def list_ssh_keys(connection: Connection, project_id: ProjectId | None, ask: Ask) -> Page[SshKey]:
    return _SSH_KEYS.list(connection, ask, project_id)
