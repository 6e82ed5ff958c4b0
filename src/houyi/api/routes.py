"""What route declarations have in common."""

from typing import Any

from houyi.api.lists import MEDIA_TYPE

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page; with watch=1 changes, one JSON object a line.", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
}
"""Of lists that can be watched."""
