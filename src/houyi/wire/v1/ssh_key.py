"""SSH keys as JSON."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from houyi.model.ssh_key import SshKey as ModelSshKey
from houyi.wire.v1.shape import Asked, Id, Page, Revision, Shown, Text, Time, rfc3339


class SshKeyCreate(Asked):
    name: Text = Field(description="RFC 1123 label, unique in the project.")
    public_key: Annotated[str, Field(max_length=16384, pattern=r"^[^\x00]*$")] = Field(description="One line: 'ssh-ed25519 AAAA... [comment]'.")


class SshKey(Shown):
    id: Id
    name: str
    project_id: Id
    project_name: str
    public_key: str
    fingerprint: str = Field(description="As `ssh-keygen -l` shows it.")
    created_at: Time
    revision: Revision


class SshKeyPage(Page[SshKey]):
    """A page of SSH keys."""


def show_ssh_key(key: ModelSshKey, names: Mapping[str, str]) -> SshKey:
    """:param names: id to name of its project."""
    return SshKey(
        id=key.id,
        name=key.name,
        project_id=key.project_id,
        project_name=names.get(key.project_id, ""),
        public_key=key.public_key,
        fingerprint=key.fingerprint,
        created_at=rfc3339(key.created_at),
        revision=key.revision,
    )
