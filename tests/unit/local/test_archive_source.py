"""Where scripts/setup.bash finds the package mirror: in the apt configuration that is there, whichever of its two forms it has."""

import subprocess
from pathlib import Path

import pytest

from house.tree import ROOT

DEB822 = """\
# a comment
Types: deb deb-src
# another
URIs: http://first.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://second.example/debian-security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """\
# deb http://comment.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian bookworm main
deb http://plain.example/debian bookworm-updates main
deb [ arch=amd64 ] http://spaced.example/debian bookworm-security main
"""


def source(folder: Path, suite: str) -> str:
    script = f'source "$1/scripts/setup.bash"; rm -f "$LOG"; APT_FOLDER=$2 archive_source {suite} || true'
    return subprocess.run(["bash", "-c", script, "-", str(ROOT), str(folder)], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    assert source(apt, "bookworm") == "http://first.example/debian|/usr/share/keyrings/a.gpg"
    assert source(apt, "bookworm-updates") == "http://first.example/debian|/usr/share/keyrings/a.gpg"
    assert source(apt, "bookworm-security") == "http://second.example/debian-security|"
    assert source(apt, "bookworm-backports") == ""


def test_deb822_that_is_switched_off_or_for_sources_only(apt: Path) -> None:
    off = DEB822.replace("Types: deb deb-src", "Types: deb-src")
    (apt / "sources.list.d/a.sources").write_text(off)
    (apt / "sources.list.d/b.sources").write_text("Enabled: no\n" + DEB822)
    assert source(apt, "bookworm") == ""
    (apt / "sources.list.d/c.sources").write_text(DEB822.replace("first", "third").rstrip())
    assert source(apt, "bookworm") == "http://third.example/debian|/usr/share/keyrings/a.gpg"
    assert source(apt, "bookworm-security") == "http://second.example/debian-security|"


def test_a_key_inside_the_file_is_not_a_path(apt: Path) -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n"
    (apt / "sources.list.d/a.sources").write_text(f"Types: deb\nURIs: http://x.example/debian\nSuites: bookworm\nComponents: main\n{key}")
    assert source(apt, "bookworm") == "http://x.example/debian|"


def test_one_line(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert source(apt, "bookworm") == "http://one.example/debian|/k.gpg"
    assert source(apt, "bookworm-updates") == "http://plain.example/debian|"
    assert source(apt, "bookworm-security") == "http://spaced.example/debian|"
    assert source(apt, "trixie") == ""


def test_both_forms_at_once(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    (apt / "sources.list.d/more.list").write_text("deb http://more.example/debian bookworm-backports main\n")
    assert source(apt, "bookworm-backports") == "http://more.example/debian|"


def test_nothing_there(apt: Path) -> None:
    assert source(apt, "bookworm") == ""
