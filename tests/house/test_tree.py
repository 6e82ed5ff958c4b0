"""What must not be in the tree: paths of somebody's machine, package mirrors, secrets."""

import re

from house.tree import ROOT, files, text_of

MACHINE = (
    re.compile(r"/wo" + r"rk/(main|wt|venv|shared|land|HELPERS|\.)"),
    re.compile(r"/home/(?!houyi\b|debian\b|user\b)[a-z]\w*/"),
    re.compile(r"/Users/[a-z]\w*/"),
)
MIRROR = re.compile(r"https?://[^\s\"'`)>]*(mirror|artifactory|nexus|proxy)[^\s\"'`)>]*", re.IGNORECASE)
SECRET = re.compile(r"-----BEGIN (EC |RSA |OPENSSH )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{40}")
INDEX = re.compile(r'registry = "(?!https://pypi\.org/simple")|url = "(?!https://files\.pythonhosted\.org/)http')


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {found.group(0)[:80]}" for path in files() for found in [pattern.search(text_of(path))] if found]


def test_no_machine_paths() -> None:
    for pattern in MACHINE:
        assert matches(pattern) == []


def test_no_mirrors() -> None:
    assert matches(MIRROR) == []


def test_the_lock_names_only_the_public_index() -> None:
    assert INDEX.findall((ROOT / "uv.lock").read_text()) == []


def test_no_private_keys() -> None:
    assert matches(SECRET) == []


def test_the_license_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
