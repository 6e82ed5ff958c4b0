"""Bringing the schema up to date, on the connection or engine that is given. Migrations ship inside the package."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine


def alembic_config() -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(target: Connection | Engine) -> None:
    """Run all migrations that have not been run yet, in one transaction."""
    if isinstance(target, Engine):
        with target.connect().execution_options(houyi_write=True) as connection, connection.begin():
            upgrade(connection)
        return
    config = alembic_config()
    config.attributes["connection"] = target
    command.upgrade(config, "head")
