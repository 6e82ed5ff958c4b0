"""A domain as a source sends it, held against the domain that this host has promised to take.

libvirt runs whatever domain it is sent: with any file of this host as a disk, any user as QEMU's. So what a peer sends may differ from what we
asked for only in what has no hold on the host: addresses, controllers, the defaults that libvirt itself writes out.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

from houyi.host.domxml.metadata import read_mark

_PLAIN = frozenset(
    {
        *("name", "uuid", "genid", "title", "description", "metadata", "memory", "currentMemory", "memoryBacking", "vcpu", "vcpus", "iothreads"),
        *("iothreadids", "cputune", "numatune", "resource", "os", "features", "cpu", "clock", "on_poweroff", "on_reboot", "on_crash", "pm", "devices"),
    }
)
"""What a domain may consist of without having been promised. Not among them: QEMU's command line, security labels, launch security, whatever libvirt learns next."""
_INERT = frozenset({"controller", "memballoon", "input", "audio", "panic", "watchdog", "hub", "emulator"})
"""Devices that libvirt adds by itself, without a host side beyond paths, which are looked at everywhere."""
_HOLDS = frozenset({"source", "backend", "listen", "log", "mac", "script", "virtualport", "filterref", "vlan", "encryption", "auth", "backenddomain"})
"""What in a device reaches out of the guest."""
_NOISE = frozenset({"index", "portid"})
"""Attributes that libvirt writes into the sources of a live domain."""
_EMULATOR = re.compile(r"/usr/(bin/qemu-system-[a-z0-9_]+|libexec/qemu-kvm)")
"""Where distributions have QEMU; libvirt writes in what it found at the source."""
_FIRMWARE = re.compile(r"/usr/share/(OVMF|ovmf|qemu|qemu-efi|edk2(-ovmf)?(/(x64|ovmf))?)/[A-Za-z0-9][A-Za-z0-9_.-]*\.(fd|bin|qcow2)")
"""Where distributions have UEFI's code and its empty variables, which libvirt found at the source; it copies the latter to where the guest reads them."""
_KNOWN = {("emulator", ""): _EMULATOR, ("loader", ""): _FIRMWARE, ("nvram", "template"): _FIRMWARE}
"""(Element, attribute or '' for its text): files of the distribution that belong there."""
_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024, "GiB": 1 << 20, "G": 1 << 20}


def objection(offered: str, promised: str) -> str:
    """Why the offered domain must not come here; '' if it may. Both are domain XML; only `promised` is trusted."""
    if "<!" in offered:
        return "it has declarations, which libvirt does not write"
    try:
        theirs = ET.fromstring(offered)  # noqa: S314 - without declarations there is nothing to expand
    except ET.ParseError as error:
        return f"it is not XML: {error}"
    ours = ET.fromstring(promised)  # noqa: S314 - our own
    return _identity(theirs, ours) or _firmware(theirs, ours) or _excess(theirs, ours)


def _identity(theirs: ET.Element, ours: ET.Element) -> str:
    if theirs.tag != "domain" or theirs.get("type") != ours.get("type"):
        return f"it is a {theirs.tag} of type {theirs.get('type')}"
    for what in ("name", "uuid", "vcpu"):
        if theirs.findtext(what) != ours.findtext(what):
            return f"its {what} is {theirs.findtext(what)}"
    if _memory(theirs) != _memory(ours):
        return f"it has {_memory(theirs)} KiB of memory"
    mark, wanted = read_mark(theirs), read_mark(ours)
    if mark is None or wanted is None or (mark.vm_id, mark.epoch) != (wanted.vm_id, wanted.epoch):
        return "it does not have the mark that was given to it"
    return ""


def _firmware(theirs: ET.Element, ours: ET.Element) -> str:
    """A guest writes to its NVRAM, and to firmware that is not read-only: neither may be any other file, not even one of its own."""
    nvram = ours.findtext("os/nvram")
    for loader in theirs.iterfind("os/loader"):
        path = (loader.text or "").strip()
        if nvram is None or loader.get("readonly") != "yes" or not _FIRMWARE.fullmatch(path):
            return f"its firmware is {path}"
    for one in theirs.iterfind("os/nvram"):
        template = one.get("template")
        if nvram is None or (one.text or "").strip() != nvram or len(one) or not (template is None or _FIRMWARE.fullmatch(template)):
            return f"its NVRAM is {(one.text or '').strip()}, made of {template}"
    return ""


def _excess(theirs: ET.Element, ours: ET.Element) -> str:
    """What it has beyond what was promised."""
    known = {_canonical(child) for child in ours}
    strange = {child.tag for child in theirs if child.tag not in _PLAIN and _canonical(child) not in known}
    strange |= {tag for tag, times in Counter(child.tag for child in theirs).items() if times > 1 and tag in _PLAIN}  # libvirt reads the first, we might not
    strange |= {part.tag for part in theirs.iterfind("devices//*") if "}" in part.tag}  # libvirt does not look at namespaces there
    if strange:
        return f"it has {', '.join(sorted(strange))}"
    paths = set(_paths(theirs)) - set(_paths(ours))
    if paths:
        return f"it names {', '.join(sorted(paths))}"
    promised = Counter(_holds(ours))
    # the first serial port is shown as a console as well
    excess = Counter(hold for hold in _holds(theirs) if not (hold.startswith("console ") and hold.replace("console ", "serial ", 1) in promised)) - promised
    return f"it has {'; '.join(sorted(excess))}" if excess else ""


def _canonical(part: ET.Element) -> str:
    """The same for the same, however it is indented."""
    return ET.canonicalize(ET.tostring(part), strip_text=True)


def _memory(domain: ET.Element) -> float | None:
    memory = domain.find("memory")
    try:
        return None if memory is None else int(memory.text or "") * _KIB[memory.get("unit", "KiB")]
    except (ValueError, KeyError):
        return None


def _paths(domain: ET.Element) -> Iterator[str]:
    """Everything that may be a file of the host, but for programs and firmware at their places."""
    for one in domain.iter():
        for name, value in (("", (one.text or "").strip()), *one.attrib.items()):
            known = _KNOWN.get((one.tag, name))
            if value.startswith(("/", "fd:", "file:")) and not (known and known.fullmatch(value)):
                yield value


def _holds(domain: ET.Element) -> Iterator[str]:
    """Each device with a host side, as one comparable text: what it is, and what it is connected to."""
    for device in domain.findall("devices/*"):
        ties = [part for part in device.iter() if part.tag in _HOLDS or (part.tag == "target" and device.tag == "interface")]
        if device.tag in _INERT and not ties:
            continue
        words = [device.tag, device.get("type") or ""]
        for tie in ties:
            kept = [f"{key}={value}" for key, value in sorted(tie.attrib.items()) if key not in _NOISE]
            words.append(f"{tie.tag}({' '.join([*kept, (tie.text or '').strip()]).strip()})")
        if device.tag == "graphics" and device.find("listen") is None and "socket" in device.attrib:
            words.append(f"listen(socket={device.get('socket')} type=socket)")  # as libvirt writes it in a migratable domain
        yield " ".join(words)
