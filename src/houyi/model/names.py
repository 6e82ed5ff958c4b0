"""What may be a name: an RFC 1123 label, since a VM's name is also its host name inside the guest and in DNS."""

import re

from houyi.model.errors import Invalid

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def check_name(name: str, what: str = "name") -> str:
    """Return `name` if it is an RFC 1123 label (1 to 63 of a-z, 0-9, '-', not at the ends) and not shaped like an id.

    :raise Invalid: `name_invalid`. An id's shape is refused because paths accept names or ids.
    """
    if not _LABEL.fullmatch(name):
        raise Invalid("name_invalid", f"{what} {name[:80]!r} is not an RFC 1123 label: use 1 to 63 of a-z, 0-9 and '-', not at an end")
    if is_id(name):
        raise Invalid("name_invalid", f"{what} {name!r} looks like an id: choose another")
    return name


def is_id(text: str) -> bool:
    """Whether `text` is a lower-case UUID, the shape of every id."""
    return _UUID.fullmatch(text) is not None
