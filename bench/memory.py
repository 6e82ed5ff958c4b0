"""Memory of the platform's processes at rest, against libvirtd's in the same run, and what one more VM costs them.

    .venv/bin/python bench/memory.py [--vms 5]

PSS counts a page that n processes share as 1/n each; private is what would be free if the process ended. At rest: nothing was asked for 15 s.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

KINDS = ("server", "agent", "supervisor", "libvirtd")
REST_SECONDS = 15.0

Memory = dict[str, dict[str, int]]
"""Kind of process -> KiB of rss, pss and private."""


def _memory(machine: Any) -> Memory:
    return {kind: _of(machine, kind) for kind in KINDS}


def _of(machine: Any, kind: str) -> dict[str, int]:
    total = {"rss": 0, "pss": 0, "private": 0}
    for pid in machine.pids(kind):
        rollup = Path(f"/proc/{machine.host.init_pid}/root/proc/{pid}/smaps_rollup").read_text()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        total["rss"] += sizes["Rss"]
        total["pss"] += sizes["Pss"]
        total["private"] += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return total


def run(vms: int) -> None:
    from real.platform import platform
    from real.tiny import tiny_path

    with contextlib.contextmanager(platform)() as machine:
        machine.houyi("up", "--detach")
        machine.until(machine.ready_hosts)
        machine.houyi("image", "import", "tiny", "--file", str(tiny_path()))
        time.sleep(REST_SECONDS)
        empty = _memory(machine)
        for number in range(vms):
            machine.houyi("vm", "create", f"bench-{number}", "--image", "tiny", "--vcpus", "1", "--memory", "128MiB", "--disk", "1GiB")
        time.sleep(REST_SECONDS)
        full = _memory(machine)
        machine.houyi("down")
    _table(empty, full, vms)


def _table(empty: Memory, full: Memory, vms: int) -> None:
    print("| process, at rest | PSS / libvirtd's | PSS MiB | private MiB | RSS MiB | more a VM, KiB |\n|---|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        now = empty[kind]
        more = f"{(full[kind]['private'] - now['private']) / vms:.0f}" if vms else "-"
        sizes = " | ".join(f"{now[size] / 1024:.1f}" for size in ("pss", "private", "rss"))
        print(f"| {kind} | {now['pss'] / max(1, empty['libvirtd']['pss']):.2f} | {sizes} | {more} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=3, help="VMs (tiny, 128 MiB) that are started for the second measurement.")
    run(parser.parse_args().vms)


if __name__ == "__main__":
    main()
