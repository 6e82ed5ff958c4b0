"""`python -m houyi` is the command `houyi`."""

from houyi.main import run

run()
