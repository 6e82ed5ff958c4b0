"""Asking before something is gone for good."""

import sys

from houyi.model.errors import Invalid


def sure(question: str, yes: bool) -> None:
    """Return when the person at the terminal says yes, or said so before. :raise Invalid: `not_confirmed`."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid("not_confirmed", f"{question.removesuffix('?')}: say --yes, since there is no terminal to ask at")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Invalid("not_confirmed", "nothing was done: it was not confirmed")
