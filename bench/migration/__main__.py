"""Live moves of a guest that writes to its memory, under our steering and under other platforms' policies, on two private hosts of this machine.

    .venv/bin/python bench/migration [--rounds 2] [--ours 3] [--quick] [--policies 'ours;virsh'] [--rates 16,80] [--out FILE] [--seed 1]
    .venv/bin/python bench/migration --report FILE [--plots docs/bench]

Needs root, QEMU and libvirt, as tests/real do. docs/BENCHMARKS.md says what is measured and how.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "bench")]


def main() -> None:
    from migration.measure import LIMIT_SECONDS, OURS, PATIENCE, RATES_MIB_S, Plan, run
    from migration.policies import others
    from migration.records import read
    from migration.report import write

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", type=int, default=3, help="moves of ours to one of another policy")
    parser.add_argument("--quick", action="store_true", help="less than a minute: one load, `virsh` until it is ended, and `ours`")
    parser.add_argument("--policies", default="", help="names with ';' between them")
    parser.add_argument("--rates", default=",".join(str(rate) for rate in RATES_MIB_S), help="MiB/s that the guest writes")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="what the others' waits are multiplied with")
    parser.add_argument("--noise", type=float, default=0.5, help="share of the guest's memory that does not compress")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds after which a move of another's policy has failed")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which no further move is begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "houyi-bench-migration.jsonl")
    parser.add_argument("--report", type=Path, help="of an earlier run")
    parser.add_argument("--plots", type=Path, help="folder for the plots")
    asked = parser.parse_args()
    names = asked.policies.split(";") if asked.policies else [*others(1.0, 1.0), "ours", "ours, post-copy"]
    rates = [float(rate) for rate in asked.rates.split(",")]
    if asked.quick:
        names, rates, asked.rounds, asked.ours, asked.limit = ["virsh", "ours"], [80.0], 1, 2, 3.0
    assert all(name in OURS or name in others(1.0, 1.0) for name in names), names
    if asked.report is None:
        asked.out.unlink(missing_ok=True)
        asyncio.run(
            run(
                Plan(
                    rounds=asked.rounds,
                    ours=asked.ours,
                    rates=rates,
                    names=names,
                    seed=asked.seed,
                    patience=asked.patience,
                    noise=asked.noise,
                    limit=asked.limit,
                    seconds=asked.seconds,
                    out=asked.out,
                )
            )
        )
    write(read(asked.report or asked.out), asked.plots)


if __name__ == "__main__":
    main()
