"""Runs on the machine: finds the one page of a QEMU's guest that holds these lines, and makes the kernel take it for broken memory. Prints its frame.

python3 - PID FIRST LAST PAGE        the guest has a file with the numbers FIRST to LAST, a line each; PAGE is the page of it that is meant
"""

import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

PAGE = 4096
CORRUPT = Path("/sys/kernel/debug/hwpoison/corrupt-pfn")
SMALLEST = 64 << 20
"""Of a mapping that is a guest's memory."""


def frame_of(pid: str, wanted: bytes) -> int:
    """The page frame that holds `wanted`, of the guest's own memory."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory, Path(f"/proc/{pid}/pagemap").open("rb", 0) as pages:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end = (int(word, 16) for word in line.split()[0].split("-"))
            if end - begin < SMALLEST or not line.split()[1].startswith("rw"):
                continue
            for place in range(begin, end, 1 << 20):
                entries = memoryview(read(pages, place // PAGE * 8, min(1 << 20, end - place) // PAGE * 8)).cast("Q")
                for number, entry in enumerate(entries):
                    if entry >> 63 and read(memory, place + number * PAGE, PAGE) == wanted:
                        found.append(entry & ((1 << 55) - 1))
    if len(set(found)) != 1:
        raise SystemExit(f"the page is in frames {found}")
    return found[0]


def read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)


def main(pid: str, first: str, last: str, page: str) -> None:
    text = "".join(f"{number}\n" for number in range(int(first), int(last) + 1)).encode()
    wanted = text[int(page) * PAGE : (int(page) + 1) * PAGE]
    frame = frame_of(pid, wanted)
    subprocess.run(["modprobe", "hwpoison_inject"], check=True)
    CORRUPT.write_text(f"{frame:#x}")
    print(f"{frame:#x}")


if __name__ == "__main__":
    main(*sys.argv[1:])
