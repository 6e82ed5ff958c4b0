"""What may be asked of images. Their content is received by control.intake.image."""

from dataclasses import replace

from houyi.control.control import Context, Control, again, as_expected, new_event, new_operation, remembered
from houyi.model.errors import Forbidden, Invalid, Stale
from houyi.model.ids import ImageId
from houyi.model.image import Image, ImageSpec, ImageState, ImageStatus
from houyi.model.names import check_name
from houyi.model.operation import Operation
from houyi.model.token import Role
from houyi.store.journal import insert_operation
from houyi.store.mutation import expect
from houyi.store.rows.image import expect_image_unused, insert_image, mark_image_deleted, update_image
from houyi.store.views.image import get_image


async def create_image(control: Control, ctx: Context, name: str, spec: ImageSpec) -> tuple[Image, Operation]:
    """Register an image; its content is downloaded from spec.url, or uploaded next.

    :raise Invalid: `name_invalid`, `url_invalid`, `sha256_invalid`. :raise Forbidden: `public_needs_admin`. :raise Conflict: `name_taken`.
    """
    check_name(name)
    if spec.public and ctx.role is not Role.ADMIN:
        raise Forbidden("public_needs_admin", "only administrators may make an image public")
    if spec.url and not spec.url.startswith(("http://", "https://")):
        raise Invalid("url_invalid", "an image URL starts with http:// or https://")
    if spec.sha256 and (len(spec.sha256) != 64 or set(spec.sha256) - set("0123456789abcdef")):
        raise Invalid("sha256_invalid", "sha256 is 64 lower-case hexadecimal digits")
    now = control.clock.now()
    status = ImageStatus(state=ImageState.WAITING)
    image = Image(
        id=ImageId(control.ids.new()), project_id=ctx.project_id, name=name, spec=spec, status=status, created_at=now, revision=control.store.revision
    )
    operation = new_operation(control, ctx, "image.import", image.id, project_id=ctx.project_id, cancellable=True)
    revision = await control.store.apply(
        [
            insert_image(image),
            insert_operation(operation),
            new_event(control, ctx, "image.create", image.id, name, "import asked", project_id=ctx.project_id),
            *remembered(control, ctx, operation),
        ]
    )
    control.hints.poke("images")
    return replace(image, revision=revision), replace(operation, revision=revision)


async def update_image_desired(
    control: Control, ctx: Context, reference: str, *, name: str | None = None, public: bool | None = None, os: str | None = None, expected: int | None = None
) -> Image:
    """Rename, publish or describe. :raise Stale: `revision_mismatch`. :raise Forbidden: another project's, or `public_needs_admin`."""

    async def attempt() -> Image:
        image = await _owned(control, ctx, reference)
        if expected is not None and image.revision != expected:
            raise Stale("revision_mismatch", "the image was changed meanwhile: read it again and repeat the request", revision=image.revision)
        if public is not None and ctx.role is not Role.ADMIN:
            raise Forbidden("public_needs_admin", "only administrators may make an image public or private")
        spec = replace(image.spec, public=image.spec.public if public is None else public, os=image.spec.os if os is None else os)
        changed = replace(image, name=image.name if name is None else check_name(name), spec=spec)
        event = new_event(control, ctx, "image.update", image.id, changed.name, "changed", project_id=image.project_id)
        await control.store.apply(
            [update_image(changed, was_public=image.spec.public), event], [expect(lambda c: get_image(c, image.id, ctx.scope), image.revision)]
        )
        return await control.store.read(lambda c: get_image(c, image.id, ctx.scope))

    return await again(attempt, codes=() if expected is not None else ("revision_mismatch",))


async def delete_image(control: Control, ctx: Context, reference: str, *, expected: int | None = None) -> Operation:
    """:raise Conflict: `image_in_use`: VMs were made from it. :raise Forbidden: `not_yours`: a public image of another project."""
    image = await _owned(control, ctx, reference)
    operation = new_operation(control, ctx, "image.delete", image.id, project_id=image.project_id, done=True)
    revision = await control.store.apply(
        [
            mark_image_deleted(image),
            insert_operation(operation),
            new_event(control, ctx, "image.delete", image.id, image.name, "deleted", project_id=image.project_id),
            *remembered(control, ctx, operation),
        ],
        [expect_image_unused(image), *as_expected(lambda c: get_image(c, image.id, ctx.scope), expected)],
    )
    control.hints.poke("images")
    return replace(operation, revision=revision)


async def _owned(control: Control, ctx: Context, reference: str) -> Image:
    image = await control.store.read(lambda c: get_image(c, reference, ctx.scope))
    if ctx.scope is not None and image.project_id != ctx.project_id:
        raise Forbidden("not_yours", f"image {image.name!r} belongs to another project")
    return image
