"""How a machine's QEMU is started, and where its things are on the host that it stands in the place of. Pure."""

from dataclasses import dataclass
from pathlib import Path

PLACE = Path("/var/lib/machine")
"""Below it, as the host sees it: disk, kernel, keys."""
MONITOR = Path("/run/machine.qmp")
CONSOLE = Path("/var/log/machine-console.log")
CABLE, LEASH = "tap0", "leash0"
"""Of the machine's two cards: on the lab's network, and to the host it stands in only, for SSH."""
LEASH_HERE, LEASH_THERE = "169.254.93.1/30", "169.254.93.2"
CARD_MAC, LEASH_MAC = "52:54:00:93:00:01", "52:54:00:93:00:02"
"""As machine_files/init and up look for them."""
SOFTWARE_PORT = "software"
CPUS = 2
PORTS = ("spare1", "spare2", "spare3", "spare4")
"""For what is plugged later."""


def qemu_words(memory_mib: int) -> tuple[str, ...]:
    """The command line. SVM with nested paging comes with `-cpu max`; the IOMMU remaps interrupts, and has SR-IOV cards behind it, as on a real machine."""
    words = ["qemu-system-x86_64", "-name", "machine", "-nodefaults", "-no-user-config", "-display", "none"]
    words += ["-M", "q35,kernel-irqchip=off", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(CPUS), "-m", str(memory_mib)]
    words += ["-rtc", "base=utc,clock=host", "-device", "intel-iommu,intremap=on,eim=off,caching-mode=on,device-iotlb=on", "-device", "virtio-rng-pci"]
    words += ["-drive", f"file={PLACE}/disk.qcow2,if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,drive=disk"]
    for name, interface, mac in (("cable", CABLE, CARD_MAC), ("leash", LEASH, LEASH_MAC)):
        words += ["-netdev", f"tap,id={name},ifname={interface},script=no,downscript=no", "-device", f"virtio-net-pci,netdev={name},mac={mac}"]
    for number, name in enumerate((SOFTWARE_PORT, "cards", *PORTS), 1):
        words += ["-device", f"pcie-root-port,id={name},slot={number},chassis={number}"]
    words += ["-netdev", "user,id=inner,restrict=on", "-device", "igb,netdev=inner,bus=cards"]
    words += ["-kernel", f"{PLACE}/vmlinuz", "-initrd", f"{PLACE}/initrd.img", "-append", "console=ttyS0 quiet intel_iommu=on iommu=pt"]
    return (*words, "-serial", f"file:{CONSOLE}", "-qmp", f"unix:{MONITOR},server=on,wait=off")


def ssh_words(command: str, *, terminal: bool = False) -> tuple[str, ...]:
    """A command line of the machine's shell (empty: the shell itself), from the host that it stands in."""
    options = {"IdentityFile": f"{PLACE}/key", "UserKnownHostsFile": f"{PLACE}/known_hosts", "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes"}
    options |= {"ConnectTimeout": "5", "ServerAliveInterval": "15", "LogLevel": "ERROR"}
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ("ssh", "-F", "none", *(("-t",) if terminal else ()), *flags, f"root@{LEASH_THERE}", *(("--", command) if command else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Who a machine is, as `up` in it is told."""

    time: float
    boot_id: str
    name: str
    uuid: str
    mac: str
    address: str
    """With its prefix length."""
    route: str
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    """Of its software."""
    join_token: str
    environment: tuple[tuple[str, str], ...]
    """Of its agent: names, and values as a shell reads them."""

    def text(self) -> str:
        lines = [
            f"TIME={self.time:.3f}",
            f"BOOT={self.boot_id}",
            f"NAME={self.name}",
            f"UUID={self.uuid}",
            f"CARD={self.mac}",
            f"ADDRESS={self.address}",
            f"ROUTE={self.route}",
        ]
        lines += [f"HOSTS={line}" for line in self.hosts]
        lines += [f"PATHS={' '.join(self.paths)}"]
        lines += [f"JOIN={self.join_token}"] if self.join_token else []
        lines += [f"{name}={value}" for name, value in self.environment]
        return "".join(f"{line}\n" for line in lines)
