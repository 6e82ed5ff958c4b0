"""Asking a guest's QEMU itself, for what libvirt does not pass on. libvirt then calls the domain tainted; nothing else comes of it."""

import json
from typing import Any

import libvirt_qemu


class Refused(Exception):
    """QEMU's words why it does not. Who asked makes of it what it means there."""


def ask(domain: Any, command: str, **arguments: object) -> Any:
    """:return: what QEMU answers, as JSON. :raise Refused: it does not know how, or will not. :raise libvirtError: it cannot be asked."""
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0))
    if "error" in answer:
        raise Refused(answer["error"].get("desc", ""))
    return answer["return"]
