"""`houyi image build`: build a bootable image out of this machine's Debian packages, as a file; importing it is the CLI's business."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from houyi.base.config import Settings
from houyi.host.build.bench import TREE, build_bench
from houyi.host.build.debian import build_debian
from houyi.host.build.tiny import build_tiny
from houyi.model.errors import NotFound

Progress = Callable[[float], None]


async def _tiny(target: Path, progress: Progress, cache: Path) -> None:
    await build_tiny(target, progress, cache=cache)


async def _debian(target: Path, progress: Progress, cache: Path) -> None:
    await build_debian(target, progress, cache=cache)


async def _bench(target: Path, progress: Progress, cache: Path) -> None:
    await build_bench(target, progress, cache=cache, tree=cache / TREE)


RECIPES: dict[str, Callable[[Path, Progress, Path], Awaitable[None]]] = {"tiny": _tiny, "debian": _debian, "bench": _bench}


async def build_image(settings: Settings, recipe: str, progress: Progress, target: Path | None = None) -> Path:
    """Build and return the file (QCOW2), by default state_dir/build/<recipe>.qcow2.

    :raise NotFound: `recipe_not_found`. :raise Failed: as the recipes say.
    """
    if recipe not in RECIPES:
        raise NotFound("recipe_not_found", f"there is no recipe {recipe!r}: use one of {', '.join(RECIPES)}")
    folder = settings.state_dir / "build"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = target or folder / f"{recipe}.qcow2"
    await RECIPES[recipe](target, progress, folder)
    return target
