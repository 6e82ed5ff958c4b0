"""Documents: the model's dataclasses as JSON texts, both ways, checked when read."""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def dump(value: Any) -> str:
    """The JSON text of a dataclass or of plain values."""
    return _encode(value).decode()


def load(text: str, kind: type[T]) -> T:
    """:raise msgspec.ValidationError: the text is not such a document (the store was changed by hand, or by a newer version)."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    value: T = decoder.decode(text)
    return value
