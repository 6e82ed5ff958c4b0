"""The kernel's own firewall and forwarding, in a network namespace: what was made since is gone, what is used stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from house.tree import ROOT

pytestmark = pytest.mark.real

IN_A_NETWORK_OF_ITS_OWN = """
import asyncio, json, subprocess, sys
from pathlib import Path
from houyi.local.before import FORWARDING, remember, restore
from houyi.host.shell import run

run_dir = Path(sys.argv[1])

def nft(text):
    subprocess.run(["nft", text], check=True)

def table(name):
    nft(f"add table ip {name}")
    nft(f"add chain ip {name} c {{ type filter hook input priority 0; policy accept; }}")

async def main():
    FORWARDING.write_text("0")
    table("old")
    await remember(run_dir)
    table("new")
    table("used")
    nft("add rule ip used c accept")
    FORWARDING.write_text("1")
    await remember(run_dir)  # what is written down stays
    await restore(run_dir)
    left = [word for word in (await run(["nft", "list", "tables"], timeout=20)).text.split() if word not in ("table", "ip")]
    print(json.dumps([left, FORWARDING.read_text().strip(), list(map(str, run_dir.iterdir()))]))
    await restore(run_dir)

asyncio.run(main())
"""


def test_in_a_network_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert json.loads(done.stdout or "null") == [["old", "used"], "0", []], done.stderr
