"""A lab's host that is a whole (emulated) physical machine, with real KVM inside: a QEMU in the place of a host's own programs.

    host's first process (first.py): the power cord, as of any host
      └ QEMU                      words.py: how it is started; monitor.py: how it is spoken to
          └ Linux with kvm_amd, libvirtd, agent      told by life.py, over SSH, who it is

image.py has its disk built once, software.py gives it this Houyi and its Python as a second disk, life.py leads it from off to ready, and
keeps a snapshot of a machine that has just come up, so that the next new one is there within seconds.
"""
