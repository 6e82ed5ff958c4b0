"""Before the machine's VMs are stopped behind the agent's back on purpose (`houyi down`): so that the next agent starts them again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from houyi.agent.ledger import Ledger
from houyi.base.log import get_log
from houyi.host.tuning.lever import Lever

log = get_log(__name__)


def put_back_knobs(ledger_folder: Path, levers: Mapping[str, Lever]) -> None:
    """Have this machine's own knobs as they were before the platform set them. What cannot be put back stays in the ledger. The agent must not run now."""
    if not ledger_folder.exists():
        return
    ledger = Ledger(ledger_folder)
    for knob, record in list(ledger.tuned.items()):
        lever = levers.get(knob)
        try:
            if lever is not None:
                lever.restore(record.before)
        except OSError as error:
            log.warning("knob_not_put_back", knob=knob, detail=error.strerror)
            continue
        ledger.forget_tuned(knob)


def expect_restart(ledger_folder: Path) -> None:
    """Forget that VMs were running; how guests ended by themselves is not forgotten. The agent must not run now."""
    if not ledger_folder.exists():
        return
    ledger = Ledger(ledger_folder)
    for vm_id, memory in list(ledger.memories.items()):
        ledger.keep(vm_id, replace(memory, started_serial=0, started_at=0.0))
