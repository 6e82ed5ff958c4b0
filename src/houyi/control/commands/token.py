"""What may be asked of users' tokens."""

from dataclasses import replace

from houyi.base.ids import digest
from houyi.control.control import Context, Control, as_expected, new_event, remembered
from houyi.model.errors import Forbidden, Invalid
from houyi.model.ids import ProjectId, TokenId
from houyi.model.names import check_name
from houyi.model.token import Role, Token
from houyi.store.mutation import Mutation
from houyi.store.rows.token import delete_token, insert_token
from houyi.store.views.token import get_token


def token_text(token: Token, secret: str) -> str:
    """What the user keeps: 'hy_<id>_<secret>'."""
    return f"hy_{token.id}_{secret}"


def new_token(control: Control, project_id: ProjectId, name: str, role: Role, expires_at: float) -> tuple[Token, str, Mutation]:
    """A fresh token, its text (which is shown once and never stored), and the mutation that writes it."""
    secret = control.ids.secret()
    token = Token(
        id=TokenId(control.ids.new()),
        project_id=project_id,
        name=name,
        role=role,
        secret_sha256=digest(secret),
        expires_at=expires_at,
        created_at=control.clock.now(),
        revision=control.store.revision,
    )
    return token, token_text(token, secret), insert_token(token)


async def create_token(control: Control, ctx: Context, name: str, role: Role, *, lifetime_seconds: float = 0.0) -> tuple[Token, str]:
    """:param lifetime_seconds: 0: it never expires. Idempotency-Key replays the record without its secret, which is not kept.

    :raise Forbidden: `role_too_high`: members make members only. :raise Invalid: `name_invalid`, `lifetime_invalid`. :raise Conflict: `name_taken`.
    """
    check_name(name)
    if role is Role.ADMIN and ctx.role is not Role.ADMIN:
        raise Forbidden("role_too_high", "only administrators may make administrators' tokens")
    if lifetime_seconds < 0 or lifetime_seconds > 100 * 365 * 86400:
        raise Invalid("lifetime_invalid", "lifetime_seconds must be 0 (for ever) or at most 100 years")
    expires_at = control.clock.now() + lifetime_seconds if lifetime_seconds else 0.0
    token, text, mutation = new_token(control, ctx.project_id, name, role, expires_at)
    event = new_event(control, ctx, "token.create", token.id, name, f"a token for role {role.value}", project_id=ctx.project_id)
    revision = await control.store.apply([mutation, event, *remembered(control, ctx, token)])
    return replace(token, revision=revision), text


async def revoke_token(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> TokenId:
    """It is refused from now on; which it was. :raise NotFound: `token_not_found`. :raise Stale: `revision_mismatch`: not at `expected`."""
    token = await control.store.read(lambda c: get_token(c, reference, ctx.scope))
    if token.role is Role.ADMIN and ctx.role is not Role.ADMIN:
        raise Forbidden("role_too_high", "only administrators may revoke administrators' tokens")
    event = new_event(control, ctx, "token.revoke", token.id, token.name, "revoked", project_id=token.project_id)
    await control.store.apply([delete_token(token), event], as_expected(lambda c: get_token(c, token.id, None), expected))
    return token.id
