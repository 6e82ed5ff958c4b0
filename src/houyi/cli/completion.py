"""`houyi completion`: the shell completes commands and options."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from houyi.cli.output import Format, note, write_data
from houyi.cli.session import OPTIONS, Options, noun
from houyi.model.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")]


def completion_app(whole: "Callable[[], App]") -> App:
    """The sub-app; `whole` gives the command tree that is completed, once it is complete itself."""
    app = noun("completion", "Completion of commands and options in bash, zsh and fish.")

    @app.command
    def show(shell: Shell, /, *, options: Options = OPTIONS) -> None:
        """Print the completion script of a shell."""
        script = whole().generate_completion(prog_name="houyi", **_of(shell))
        if options.output is Format.TABLE:
            print(script)  # noqa: T201 - what was asked for
        else:
            write_data({"shell": shell, "script": script}, options.output)

    @app.command
    def install(
        shell: Shell,
        /,
        *,
        file: Annotated[Path | None, Parameter(help="Where the script goes; by default where the shell looks for it.", show_default=False)] = None,
        options: Options = OPTIONS,
    ) -> None:
        """Install the completion script of a shell for this user."""
        try:
            where = whole().install_completion(output=file, add_to_startup=file is None, **_of(shell))
        except OSError as error:
            raise Failed("file_unwritable", f"cannot write {error.filename}: {error.strerror}") from None
        if options.output is Format.TABLE:
            note(f"completion for {shell} is in {where}: it works in new shells")
        else:
            write_data({"shell": shell, "file": str(where)}, options.output)

    return app


def _of(name: str) -> Any:
    """Cyclopts' word for which shell is meant; as a mapping, since the word itself is kept for what starts processes (tests/house)."""
    return {"shell": name}
