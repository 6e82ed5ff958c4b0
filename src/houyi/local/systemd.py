"""Server and agent as units, where systemd runs: made from units/*.service, installed, started, stopped, removed.

Units that somebody else made under our names are never touched (MARK tells ours). libvirtd and virtlogd have units of their own, which the agent's wants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from houyi.base.config import Settings
from houyi.host import shell
from houyi.model.errors import Conflict, Failed

UNITS = ("houyi-server.service", "houyi-agent.service")
"""In the order in which they are started."""
FOLDER = Path("/etc/systemd/system")
MARK = "# Made by `houyi up`"
_RUNNING = Path("/run/systemd/system")
"""There if and only if systemd is the machine's first process; see sd_booted(3)."""
_SETTING_NAMES = ("HOUYI_CONFIG", "HOUYI_STATE_DIR", "HOUYI_RUN_DIR", "HOUYI_LOG_DIR")
SETTING_SECTIONS = ("HOUYI_SERVER__", "HOUYI_AGENT__", "HOUYI_LOG__")
_SECONDS = 90.0
"""More than DefaultTimeoutStartSec is never waited for; stopping takes TimeoutStopSec at most."""


def runs(marker: Path = _RUNNING) -> bool:
    """Whether systemd runs this machine."""
    return marker.is_dir()


def units(settings: Settings, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> dict[str, str]:
    """File name -> text, of the units in `commands` (file name -> argument list).

    Of `environment` only settings are taken over: they hold no secrets, as a token for the CLI would be.
    """
    taken = given_settings(environment)
    folders = (settings.state_dir, settings.run_dir, settings.log_dir)
    words = {
        "documentation": str(Path(__file__).resolve().parent),
        "environment": "\n".join(f"Environment={quoted(f'{name}={value}')}" for name, value in taken.items()),
        "runtime_directory": _under_run(settings.run_dir),
        "writable": " ".join(quoted(f"-{folder.absolute()}") for folder in folders),
    }
    folder = Path(__file__).with_name("units")
    return {
        name: Template((folder / name).read_text()).substitute(words, command=" ".join(quoted(word, dollar=True) for word in argv))
        for name, argv in commands.items()
    }


def given_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that set settings; not those of the CLI, which may hold a token."""
    return {name: value for name, value in sorted(environment.items()) if name in _SETTING_NAMES or name.startswith(SETTING_SECTIONS)}


def quoted(word: str, *, dollar: bool = False) -> str:
    """A word of a unit file as systemd.syntax(7) has it: specifiers (%) and, in a command line, variables ($) are not expanded in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if dollar else escaped}"'


def _under_run(run_dir: Path) -> str:
    """What systemd makes anew at each boot: only folders below /run can be given to it; elsewhere they last, and nothing is asked of it."""
    absolute = run_dir.absolute()
    return str(absolute.relative_to("/run")) if absolute.is_relative_to("/run") and absolute != Path("/run") else ""


@dataclass(frozen=True, slots=True)
class Installed:
    """The units on this machine. `folder` is where they are; tests give another one."""

    folder: Path = FOLDER

    @property
    def present(self) -> tuple[str, ...]:
        """Those of ours that are there."""
        return tuple(name for name in UNITS if self._ours(name))

    def _ours(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and path.read_text().startswith(MARK)

    def write(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """Write what differs; returns those names. :raise Conflict: `unit_foreign`, before anything is written."""
        for name in texts:
            if (self.folder / name).exists() and not self._ours(name):
                raise Conflict("unit_foreign", f"{self.folder / name} was not made by houyi: move it away, or manage server and agent with it yourself")
        changed = tuple(name for name, text in texts.items() if not (self.folder / name).exists() or (self.folder / name).read_text() != text)
        for name in changed:
            new = self.folder / f".{name}.new"
            new.write_text(texts[name])
            new.replace(self.folder / name)
        return changed

    async def start(self, texts: Mapping[str, str]) -> None:
        """Have these units installed as they are in `texts`, enabled and running; a unit that did not change and runs is left alone.

        :raise Conflict: `unit_foreign`. :raise Failed: `unit_failed`, with the words of systemd.
        """
        changed = self.write(texts)
        if changed:
            await _systemctl("daemon-reload")
        for name in texts:
            await _systemctl("enable", name)
            await _systemctl("restart" if name in changed else "start", name)

    async def stop(self) -> None:
        """Agent first, then server. Not there or not running: nothing. :raise Failed: `unit_failed`."""
        for name in reversed(self.present):
            await _systemctl("disable", "--now", name)

    async def remove(self) -> None:
        """Stop and forget them. :raise Failed: `unit_failed`."""
        names = self.present
        await self.stop()
        for name in names:
            (self.folder / name).unlink()
        if names:
            await _systemctl("daemon-reload")


async def _systemctl(*words: str) -> None:
    done = await shell.run(["systemctl", *words], timeout=_SECONDS, check=False)
    if done.code != 0:
        raise Failed("unit_failed", f"systemctl {' '.join(words)}: {done.complaint}: see `journalctl -u {words[-1]}`")
