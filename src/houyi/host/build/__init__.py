"""Bootable images built on this machine, from this machine's own Debian packages: tiny.py in seconds, debian.py (whole) in minutes.

bootdisk.py puts a disk together that boots by BIOS and UEFI; packages.py gets packages; kernel.py picks modules and packs an initramfs.
"""
