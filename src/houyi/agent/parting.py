"""Before the machine's VMs are stopped behind the agent's back on purpose (`houyi down`): so that the next agent starts them again."""

from dataclasses import replace
from pathlib import Path

from houyi.agent.ledger import Ledger


def expect_restart(ledger_folder: Path) -> None:
    """Forget that VMs were running; how guests ended by themselves is not forgotten. The agent must not run now."""
    if not ledger_folder.exists():
        return
    ledger = Ledger(ledger_folder)
    for vm_id, memory in list(ledger.memories.items()):
        ledger.keep(vm_id, replace(memory, started_serial=0, started_at=0.0))
