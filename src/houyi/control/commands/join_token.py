"""What may be asked of join tokens; administrators only, which the API checks."""

from dataclasses import replace

from houyi.base.ids import digest
from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Invalid
from houyi.model.ids import JoinTokenId
from houyi.model.join_token import JoinToken, JoinTokenText
from houyi.store.rows.join_token import delete_join_token as delete_join_token_row
from houyi.store.rows.join_token import insert_join_token
from houyi.store.views.join_token import get_join_token

LIFETIME_SECONDS_MAX = 30 * 86400.0


async def create_join_token(control: Control, ctx: Context, ca_fingerprint: str, *, lifetime_seconds: float = 3600.0) -> tuple[JoinToken, str]:
    """A token that lets one host join, and its text, shown once.

    :param ca_fingerprint: as `model.join_token` makes it of the CA's certificate.
    :raise Invalid: `lifetime_invalid`: not within 30 days.
    """
    if not 0 < lifetime_seconds <= LIFETIME_SECONDS_MAX:
        raise Invalid("lifetime_invalid", "a join token lives from 1 second to 30 days")
    secret = control.ids.secret()
    now = control.clock.now()
    token = JoinToken(
        id=JoinTokenId(control.ids.new()),
        secret_sha256=digest(secret),
        expires_at=now + lifetime_seconds,
        used_by="",
        created_at=now,
        revision=control.store.revision,
    )
    event = new_event(control, ctx, "join_token.create", token.id, "", "a host may join", project_id=None)
    revision = await control.store.apply([insert_join_token(token), event, *remembered(control, ctx, token)])
    return replace(token, revision=revision), str(JoinTokenText(token.id, ca_fingerprint, secret))


async def delete_join_token(control: Control, ctx: Context, token_id: str, *, expected: int | None = None) -> None:
    """:raise NotFound: `join_token_not_found`."""
    token = await control.store.read(lambda c: get_join_token(c, token_id))
    event = new_event(control, ctx, "join_token.delete", token.id, "", "revoked", project_id=None)
    await control.store.apply([delete_join_token_row(token.id), event], as_expected(lambda c: get_join_token(c, token.id), expected))
