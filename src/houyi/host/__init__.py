"""This machine: libvirt, networks, disks, images, probes. `port.py` is its face; `libvirt.py` and `sim.py` are the two complete implementations."""
