"""The server's own files, and the way back in."""

from pathlib import Path

import pytest

from houyi.base.clock import SystemClock
from houyi.base.config import ServerSettings, Settings
from houyi.base.ids import RandomIds, digest
from houyi.control.control import Control
from houyi.control.first_start import first_start
from houyi.main.server import admin_token_file, recover_admin
from houyi.model.errors import Failed
from houyi.model.token import Role
from houyi.store.store import Store
from houyi.store.views.token import find_token


async def test_who_is_root_here_gets_in_again_beside_a_running_server(store_url: str, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, server=ServerSettings(database_url=store_url))
    running = await Store.open(store_url)
    first = await first_start(Control(running, SystemClock(), RandomIds(), settings), "10.80.0.0/24")
    path = await recover_admin(settings)
    assert path == admin_token_file(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text().strip()
    assert text != first
    _, token_id, secret = text.split("_", 2)
    token = await running.read(lambda c: find_token(c, token_id))
    assert token is not None
    assert (token.role, token.secret_sha256) == (Role.ADMIN, digest(secret))
    await recover_admin(settings)  # as often as it is lost
    await running.close()


async def test_where_there_is_no_platform_none_is_begun(tmp_path: Path) -> None:
    with pytest.raises(Failed) as refused:
        await recover_admin(Settings(state_dir=tmp_path))
    assert refused.value.code == "no_platform_here"
    assert list(tmp_path.iterdir()) == []
