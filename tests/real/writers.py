"""VMs of a lab whose guests verify every page of theirs as they write it, and count."""

import subprocess
from pathlib import Path
from typing import Any

from contract.pairs import WRITER_CONTENT, WRITER_MEMORY_MIB
from real.labs import Lab
from real.page_writer import said


def bring_image(found: Lab) -> None:
    image = found.room / "writer.raw"
    image.write_bytes(WRITER_CONTENT)
    found.houyi("image", "import", "writer", "--file", str(image), "--format", "raw")


def create(found: Lab, name: str, *more: str) -> None:
    found.houyi("vm", "create", name, "--image", "writer", "--vcpus", "1", "--memory", f"{WRITER_MEMORY_MIB}M", "--disk", "1G", "--network", "lab", *more)


def type_in(found: Lab, name: str, data: bytes) -> None:
    """Once the guest is heard; it never falls silent."""
    with subprocess.Popen(found.argv("vm", "console", name), env=found.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as typing:
        try:
            assert typing.stdin is not None
            assert typing.stdout is not None
            typing.stdout.read(1)
            typing.stdin.write(data)
            typing.stdin.flush()
            for _ in range(3):
                typing.stdout.readline()
        finally:
            typing.kill()


def last(found: Lab, name: str) -> tuple[int, int, int]:
    """(passes, sectors written, bad pages), as the guest has counted."""
    lines = said(found.houyi("vm", "log", name, code=None).stdout.replace("\n", "\r\n").encode())
    return lines[-1] if lines else (-1, 0, 0)


def goes_on(found: Lab, name: str, more_than: int, seconds: float = 90) -> int:
    """How far it has counted, beyond so far; none of its pages has been wrong."""
    count, _, bad = found.until(lambda: last(found, name), lambda line: line[0] > more_than, seconds)
    assert bad == 0, f"{bad} bad pages in {name}"
    return count


def home(found: Lab, name: str) -> str:
    return str(found.vm(name)["host_name"])


def qemus(found: Lab) -> int:
    """How many run, on all hosts."""
    return sum(Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/usr/bin/qemu-system") for pid in found.inhabitants())


def files(found: Lab, host: str) -> list[str]:
    """Ids of VMs that have files of their own on a host."""
    return sorted(path.name for path in (found.folder / "hosts" / host / "var/lib/houyi/vms").iterdir())


def moves(found: Lab, name: str) -> list[dict[str, Any]]:
    return [one for one in found.ask("migration", "list") if one["vm_name"] == name]
