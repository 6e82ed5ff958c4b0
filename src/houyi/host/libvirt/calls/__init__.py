"""What one libvirt may ask of another's in a move: everything else ends the connection (docs/rfd/0002-fleet.md, "Between hosts: the door").

frames.py    libvirt's RPC frames: cut a stream into them, read XDR
offered.py   a domain as the source sends it, held against the domain that the destination has promised to take
passage.py   the list of calls, and what each may say
witness.py   the source's side: when the destination says that it has the guest
"""
