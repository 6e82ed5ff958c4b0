"""The tree of programs on this machine: the root file system of the image `bench` as a folder, as `houyi image build bench` leaves it."""

from dataclasses import dataclass
from pathlib import Path

from houyi.base.config import Settings
from houyi.host.build.bench import STAMP, TREE
from houyi.model.errors import NotFound


def tree_folder(settings: Settings) -> Path:
    return settings.state_dir / "build" / TREE


@dataclass(frozen=True, slots=True)
class Tree:
    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "Tree":
        """:raise NotFound: `bench_tree_missing`."""
        folder = tree_folder(settings)
        if not (folder / STAMP).is_file():
            raise NotFound("bench_tree_missing", f"there are no benchmarks in {folder}: build them (once, as root) with `houyi image build bench`")
        return cls(folder)

    @property
    def stamp(self) -> str:
        """Of the build that made it."""
        return (self.folder / STAMP).read_text().strip()
