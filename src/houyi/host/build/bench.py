"""The image `bench`: tiny, with the programs of `houyi bench`; and the same root file system as a folder, which is what runs on the machine and in containers.

So whatever differs between places is the place: kernel and libraries aside, the same files run everywhere. Both carry the name of this very build (/etc/bench),
by which a run makes sure that they belong together.
"""

import tempfile
import uuid
from pathlib import Path

from houyi.host.build import tiny
from houyi.host.port import Progress

PACKAGES = ("stress-ng", "fio", "iperf3", "sysbench", "rt-tests", "sockperf")
_PROGRAMS = ("stress-ng", "fio", "iperf3", "sysbench", "sockperf", "cyclictest", "ptsematest")
_ROOT_MIB = 192
"""Programs and libraries take about 70 MiB, and disk benchmarks write a file of 64 MiB."""
STAMP = "etc/bench"
TREE = "bench-tree"
"""Name of the folder, beside the packages that it was made of."""


async def build_bench(target: Path, progress: Progress, *, cache: Path | None = None, tree: Path) -> None:
    """Put the image at `target` (QCOW2, about 70 MB) and the folder at `tree`, replacing what is there. Errors and `cache` as for `build_tiny`."""
    files = Path(__file__).with_name("bench_files")
    with tempfile.TemporaryDirectory(prefix="houyi-build-") as name:
        stamp = Path(name) / "stamp"
        stamp.write_text(f"{uuid.uuid4()}\n")
        more = tiny.More(
            packages=PACKAGES,
            programs=tuple(f"usr/bin/{program}" for program in _PROGRAMS),
            files={
                stamp: STAMP,
                files / "job": "usr/bin/job",
                files / "chase.lua": "usr/share/bench/chase.lua",
                files / "syscall.lua": "usr/share/bench/syscall.lua",
            },
            root_mib=_ROOT_MIB,
            tree=tree,
        )
        await tiny.build_tiny(target, progress, cache=cache, more=more)
