"""The folder of DHCP reservations that a NAT network's dnsmasq watches: one file a card, named by its MAC.

dnsmasq reads a new or changed file at once; that one is gone, it hears when it is next told to read everything (which a changed name does).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from houyi.host.net.nat import Lease

_FOLDER_MODE, _FILE_MODE = 0o755, 0o644
"""dnsmasq runs as a user of its own; nothing here is secret."""


def prepare(folder: Path) -> None:
    """Make the folder. dnsmasq does not start without it."""
    for each in (folder.parent, folder):
        each.mkdir(exist_ok=True)
        each.chmod(_FOLDER_MODE)


def write(folder: Path, leases: Iterable[Lease]) -> None:
    """Have exactly these reservations there. Only files that differ are touched."""
    wanted = {lease.mac.replace(":", "-"): f"{lease.mac},{lease.address}\n" for lease in leases}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        new = folder.parent / f".{folder.name}.{name}"  # not in the watched folder, which would read it half-written
        new.write_text(text)
        new.chmod(_FILE_MODE)
        new.replace(path)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
