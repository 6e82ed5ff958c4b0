"""Running a command: whatever goes wrong becomes one line on stderr and an exit code."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from houyi.cli.exits import INTERRUPTED, USAGE, exit_code, sentence
from houyi.model.errors import HouyiError


def run_app(app: App, arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default this process's) and return the exit code of cli.exits."""
    try:
        app(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except HouyiError as error:
        return _said(sentence(error), exit_code(error))
    except CycloptsError as error:
        return _said(f"error: {_one_line(error)} (usage); see `{_command(app, error)} --help`", USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough (`| head`); stdout is pointed elsewhere so that nothing complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _said(line: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(line + "\n")
    return code


def _one_line(error: CycloptsError) -> str:
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:].rstrip(".")


def _command(app: App, error: CycloptsError) -> str:
    """The words of the command that was meant, as far as they were understood."""
    words = [*app.name[:1], *(error.command_chain or ())]
    return " ".join(words)
