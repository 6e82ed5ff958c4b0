"""Files of the kernel of other machines: one text a machine, each line a path, a tab, and what the file says (newlines as \\n)."""

from pathlib import Path

NAMES = ("intel", "amd", "nested", "cloud")


def plant(root: Path, name: str) -> Path:
    """Make the machine's files below `root`, which is returned."""
    for line in (Path(__file__).with_name(f"{name}.txt")).read_text().splitlines():
        if not line.startswith("#"):
            path, _, text = line.partition("\t")
            put(root, path, text.replace("\\n", "\n").replace("\\\\", "\\"))
    return root


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
