"""One machine with real KVM for all tests of this folder, in a lab of its own. Its system is built once and kept, as the tiny image is."""

from collections.abc import Iterator

import pytest

from leftovers import remove_leftovers
from real.labs import PREFIX, ROOM, Lab, end_labs
from real.tiny import CACHE, tiny_path

UP_SECONDS = 1500
"""With the system to be built (minutes) and booted (a minute) first, on busy CPUs; a few seconds once both are kept."""


@pytest.fixture(scope="session")
def nested() -> Iterator[Lab]:
    remove_leftovers(PREFIX, ROOM, end_labs)
    made = Lab("kvm")
    made.environment["HOUYI_STATE_DIR"] = str(CACHE / "machines")
    try:
        made.houyi("lab", "up", "--kvm", seconds=UP_SECONDS)
        made.houyi("image", "import", "tiny", "--file", str(tiny_path()), seconds=300)
        yield made
    finally:
        made.close()
