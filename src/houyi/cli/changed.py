"""The end of commands that change something at once: the object for programs, a line for people."""

from typing import Any

from houyi.cli.output import Format, note, write_data
from houyi.cli.session import Options


def told(data: Any, text: str, options: Options) -> None:
    """`data` is what the API answered; None (it answered nothing, as after a deletion) is an empty object for programs."""
    if options.output is Format.TABLE:
        note(text)
    else:
        write_data({} if data is None else data, options.output)
