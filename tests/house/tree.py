"""The tree as the house tests see it: modules of the package, their text and their syntax trees."""

import ast
import functools
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "houyi"


class Module(NamedTuple):
    name: str
    """Without the package: 'host.shell'."""
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".", 1)[0]


@functools.cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"
        text = path.read_text()
        found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


@functools.cache
def files() -> tuple[Path, ...]:
    """Every text file that is or would be committed (ignored files left out)."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


def text_of(path: Path) -> str:
    """A file's text; empty when it is not UTF-8."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def dotted(node: ast.expr) -> str:
    """'os.execv' of a name or attribute chain; '' of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return ""


def where(module: Module, node: ast.AST) -> str:
    return f"{module.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
