"""Files that hold secrets: created with mode 0600 from the first byte on, replaced atomically, synced."""

import os
from pathlib import Path


def write_secret(path: Path, data: bytes) -> None:
    """:raise OSError: the folder is missing or not writable; an older file is then still whole."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
