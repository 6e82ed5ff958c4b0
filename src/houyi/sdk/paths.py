"""Paths of the API. Light to import, which matters to the CLI."""

from urllib.parse import quote

from houyi.model.errors import Invalid


def path(*parts: str) -> str:
    """'/v1/vms/a%2Fb/start' of 'vms', 'a/b', 'start': whatever a name holds, it stays one part.

    :raise Invalid: `reference_invalid`: an empty part, '.' or '..', which would lead elsewhere.
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid("reference_invalid", f"{part!r} is neither a name nor an id: give one of them")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
