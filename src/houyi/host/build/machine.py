"""The system of a lab's machine: a Debian that is a hypervisor host, with its kernel beside it, for QEMU to start directly.

The same suite as this machine's, so that this machine's Python environment runs on it; QEMU and libvirt as new as here (from backports, where this machine
has them from there). It has no systemd: machine_files/init starts what a host needs, within seconds. Root comes in by SSH, over a card of its own, with the
key made for it here. It runs inside a lab only: there is no way to it but the lab's.
"""

import os
import shutil
import tempfile
from pathlib import Path

from houyi.host import shell
from houyi.host.build import kernel, packages, suites
from houyi.host.port import Progress
from houyi.model.errors import Failed

PACKAGES = (
    *("linux-image-amd64", "linux-perf", "kmod", "rasdaemon", "util-linux", "procps", "iproute2", "python3", "ca-certificates", "openssh-server"),
    *("qemu-system-x86", "qemu-utils", "ovmf", "dnsmasq-base", "nftables", "iptables", "e2fsprogs"),
    *("libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-daemon-driver-network", "libvirt-clients"),
)
DISK_GIB = 16
"""Of its disk; sparse."""
_MODULES_REQUIRED = ("virtio_pci", "virtio_blk", "ext4")
_MODULES_WANTED = ("crc32c_generic", "crc32c_intel")
"""ext4 asks for them by another name than their own."""
_LABEL = "machine-root"
_SECONDS = 1800.0
_FILES = {"init": 0o755, "up": 0o755, "agent": 0o755}
_LEFT_OUT = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *(f"/*lib/modules/*/kernel/{room}/*" for room in ("sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging", "drivers/iio")),
    *("/usr/bin/qemu-system-i386", "/usr/bin/qemu-system-x86_64-microvm"),
)
"""Drivers of what it has not; and QEMUs that libvirt would have to be told all about as well."""
_SSHD = """\
ListenAddress 169.254.93.2
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
"""
_LIBVIRTD = 'auth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n'
_QEMU = 'security_driver = "none"\nremember_owner = 0\n'


async def build_machine(folder: Path, progress: Progress, *, cache: Path) -> None:
    """Make `folder` with root.qcow2, vmlinuz, initrd.img and the SSH keys (key, key.pub, known_hosts) in one step, replacing what is there; takes minutes.

    `cache` keeps downloaded packages. :raise Failed: `suite_missing`, `package_missing`, `program_missing`, `program_failed`, `kernel_unsuitable`, `build_not_root`.
    """
    if os.geteuid() != 0:
        raise Failed("build_not_root", "building a machine needs root, since its files belong to root: run it as root")
    suite = suites.own()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="houyi-build-", dir=folder.parent) as name:
        work = Path(name)
        progress(0.0)
        root, made = work / "root", work / "made"
        made.mkdir(mode=0o700)
        await _bootstrap(suite, root, work)
        progress(0.6)
        await _keys(root, made)
        _furnish(root)
        found = kernel.find(root)
        await _early(found, work / "early", cache)
        shutil.copyfile(found.image, made / "vmlinuz")
        (made / "initrd.img").write_bytes(kernel.initramfs(work / "early"))
        progress(0.7)
        raw = work / "root.raw"
        with raw.open("wb") as file:
            file.truncate(DISK_GIB << 30)
        await shell.run(["mke2fs", "-q", "-t", "ext4", "-L", _LABEL, "-E", "lazy_itable_init=1", "-d", str(root), str(raw)], timeout=_SECONDS)
        progress(0.9)
        await shell.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(made / "root.qcow2")], timeout=_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
        progress(1.0)


async def _bootstrap(suite: str, root: Path, work: Path) -> None:
    preferences = work / "preferences"
    preferences.write_text(f"Package: src:qemu src:libvirt src:seabios src:ipxe src:edk2\nPin: release n={suites.backports(suite)}\nPin-Priority: 990\n")
    argv = ["nice", "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", f"--include={','.join(PACKAGES)}"]
    argv += ["--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT)]
    argv += [f"--setup-hook=copy-in {preferences} /etc/apt/preferences.d", suite, str(root), "-"]
    sources = await suites.sources(suite, newer=True)
    await shell.run(argv, timeout=_SECONDS, input=sources.encode(), env={"TMPDIR": str(work), "DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"})


async def _keys(root: Path, made: Path) -> None:
    """A key for who comes in, and the machine's own: both are this build's, and never leave this machine."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for path in (made / "key", root / "etc/ssh/ssh_host_ed25519_key"):
        await shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "houyi lab", "-f", str(path)], timeout=60)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(made / "key.pub", root / "root/.ssh/authorized_keys")
    kind, public, _ = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split(maxsplit=2)
    (made / "known_hosts").write_text(f"169.254.93.2 {kind} {public}\n")


def _furnish(root: Path) -> None:
    own = root / "usr/lib/houyi"
    own.mkdir()
    for name, mode in _FILES.items():
        shutil.copyfile(Path(__file__).with_name("machine_files") / name, own / name)
        (own / name).chmod(mode)
    (root / "etc/ssh/sshd_config.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssh/sshd_config.d/houyi.conf").write_text(_SSHD)
    (root / "etc/libvirt/libvirtd.conf").write_text(_LIBVIRTD)
    (root / "etc/libvirt/qemu.conf").write_text(_QEMU)
    for path in root.glob("etc/libvirt/qemu/networks/autostart/*"):
        path.unlink()
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / folder).glob("*.*"):
            path.unlink()


async def _early(found: kernel.Kernel, early: Path, cache: Path) -> None:
    programs = early.with_name("programs")
    await packages.unpack(await packages.download(("busybox-static",), cache), programs)
    busybox = next(path for name in ("bin/busybox", "usr/bin/busybox") if (path := programs / name).is_file())
    (early / "bin").mkdir(parents=True)
    shutil.copy2(busybox, early / "bin/busybox")
    loaded = await kernel.copy_modules(found, _MODULES_REQUIRED, _MODULES_WANTED, early)
    (early / "modules").write_text(" ".join(loaded) + "\n")
    shutil.copyfile(Path(__file__).with_name("machine_files") / "early", early / "init")
    (early / "init").chmod(0o755)
