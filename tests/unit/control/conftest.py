"""A PostgreSQL cluster of our own, for tests that run on both stores: in a temporary folder, on a UNIX socket only, without durability."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The folder of its socket; user and superuser: postgres."""
    if not BINARIES or os.geteuid() != 0:
        pytest.skip("needs PostgreSQL's server binaries, and root to run them as postgres")
    folder = Path(tempfile.mkdtemp(prefix="houyi-pg-"))
    account = pwd.getpwnam("postgres")
    os.chown(folder, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str) -> None:
        command = [str(BINARIES[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, user="postgres", group="postgres", cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run("initdb", "--auth=trust", "--no-sync", "--username=postgres")
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -h '' -F", "start")
    yield str(folder)
    run("pg_ctl", "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, on each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/houyi.db"
    folder: str = request.getfixturevalue("postgres")
    name = f"t{os.urandom(6).hex()}"
    subprocess.run([str(BINARIES[-1] / "createdb"), "-h", folder, "-U", "postgres", name], check=True)
    return f"postgresql+asyncpg://postgres@/{name}?host={folder}"
