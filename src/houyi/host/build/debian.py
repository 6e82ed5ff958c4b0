"""A whole Debian: systemd, cloud-init, OpenSSH, the QEMU guest agent, Debian's cloud kernel; boots by BIOS and UEFI. Takes minutes to build.

Mirrors and keys are those of this machine's apt. The first boot is a new machine: no machine-id, no host keys; cloud-init makes the user `debian`,
takes its keys from the NoCloud seed and lets the root file system fill the disk. Debian's cloud kernel has no AHCI driver: the seed must be on virtio.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from houyi.host import shell
from houyi.host.build import bootdisk, packages, suites
from houyi.host.port import Progress
from houyi.model.errors import Failed

_PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin"),
    *("systemd-sysv", "systemd-resolved", "libpam-systemd", "dbus", "udev", "netplan.io", "iproute2", "iputils-ping"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs", "qemu-guest-agent", "openssh-server", "sudo"),
    *("ca-certificates", "apt-utils", "locales-all", "less", "vim-tiny", "curl", "procps", "bash-completion"),
)
_LABEL = "debian-root"
_SECONDS = 1800.0
"""Longest that the packages may take: 3 to 5 minutes on 2 cores with a near mirror."""
_COMMAND_LINE = "root=LABEL=debian-root ro console=tty0 console=ttyS0,115200"
_FILES: Mapping[str, str] = {
    "etc/fstab": f"LABEL={_LABEL} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": "",
    "etc/default/grub": "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=\nGRUB_TERMINAL='console serial'\n"
    'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"\nGRUB_DISABLE_OS_PROBER=true\n',
    "etc/cloud/cloud.cfg.d/90_houyi.cfg": "datasource_list: [NoCloud, None]\n",
    "boot/grub/grub.cfg": f"serial --unit=0 --speed=115200\nlinux /vmlinuz {_COMMAND_LINE}\ninitrd /initrd.img\nboot\n",
}
"""grub.cfg serves until the first kernel update inside the guest writes a new one."""


async def build_debian(target: Path, progress: Progress, *, suite: str = "", cache: Path | None = None) -> None:
    """Build a Debian image and put it (QCOW2, about 500 MB) at `target`, replacing what is there in one step.

    `suite` ('bookworm', 'trixie'; empty: this machine's own) must be among this machine's apt sources; `cache` as for `build_tiny`.

    :raise Failed: `suite_missing`, `package_missing`, `program_missing`, `program_failed`, `build_not_root`.
    """
    if os.geteuid() != 0:
        raise Failed("build_not_root", "building an image needs root, since its files belong to root: run it as root")
    suite = suite or suites.own()
    sources = await suites.sources(suite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="houyi-build-", dir=cache if cache and cache.is_dir() else None) as name:
        work = Path(name)
        progress(0.0)
        await packages.unpack(await packages.download(bootdisk.PACKAGES, cache or work / "packages"), work / "loader")
        root = work / "root"
        argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", f"--include={','.join(_PACKAGES)}", suite, str(root), "-"]
        # Temporary files of mmdebstrap beside ours: they are large, and gone with them.
        await shell.run(argv, timeout=_SECONDS, input=sources.encode(), env={"TMPDIR": str(work), "DEBIAN_FRONTEND": "noninteractive"})
        progress(0.6)
        _make_new(root)
        loader = bootdisk.Loader(folder=work / "loader")
        used_mib = sum(path.lstat().st_blocks for path in root.rglob("*")) * bootdisk.SECTOR // bootdisk.MIB
        await bootdisk.make(root, label=_LABEL, root_mib=used_mib * 5 // 4 + 256, loader=loader, work=work, target=target)
        progress(1.0)


def _make_new(root: Path) -> None:
    """Make the tree a machine that has never run: our files, no identity, GRUB's modules where grub.cfg looks for them."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    for platform in ("i386-pc", "x86_64-efi"):
        shutil.copytree(root / "usr/lib/grub" / platform, root / "boot/grub" / platform, ignore=shutil.ignore_patterns("*.image", "monolithic"))
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / folder).glob("*.*"):
            path.unlink()
