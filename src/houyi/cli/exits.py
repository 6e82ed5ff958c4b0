"""Exit codes by kind: the one table from what went wrong to what a script sees.

0 is success, 130 an interrupt from the keyboard; both are not in the table. Everything that is no error of ours is 1.
"""

from collections.abc import Mapping

from houyi.model import errors

USAGE = 2
INTERRUPTED = 130

EXIT_CODES: Mapping[type[errors.HouyiError], int] = {
    errors.Failed: 1,
    errors.Invalid: USAGE,
    errors.TooLarge: USAGE,
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.Stale: 4,
    errors.Unauthenticated: 5,
    errors.Forbidden: 5,
    errors.NoCapacity: 6,
    errors.Unavailable: 7,
}
"""Every class of model.errors has its row; a test compares. 2 is also what a mistake in the command line gives, 7 also the end of a `--timeout`."""

ADVICE: Mapping[type[errors.HouyiError], str] = {
    errors.Unauthenticated: "log in with `houyi login`",
    errors.Forbidden: "ask an administrator",
    errors.Stale: "read it again and repeat",
    errors.Unavailable: "try again in a moment",
}
"""What to do next, for kinds where the same is right for every error of it; the others say it in their own sentence."""


def exit_code(error: errors.HouyiError) -> int:
    """The exit code of an error, by the nearest class that has one."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return 1


def sentence(error: errors.HouyiError) -> str:
    """One line for stderr: what is wrong, its code, and what to do next unless the sentence says so already (after a colon)."""
    detail = " ".join(error.detail.split())
    advice = ADVICE.get(type(error), "")
    known = not advice or ": " in detail or advice in detail
    return f"error: {detail} ({error.code})" if known else f"error: {detail} ({error.code}); {advice}"
