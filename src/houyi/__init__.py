"""Houyi: an elastic-compute platform over libvirt, QEMU and KVM. `docs/ARCHITECTURE.md` is the map."""

__version__ = "0.1.0"
