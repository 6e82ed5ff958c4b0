"""The front door: the only room where the parts are joined. server.py and agent.py are the two processes, commands.py the command `houyi`."""

from houyi.main.commands import run

__all__ = ["run"]
