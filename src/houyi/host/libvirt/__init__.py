"""The only room that speaks libvirt: one connection that heals itself, and the ports that need it.

connection.py   open, lose, reopen; run blocking calls in threads; translate errors
events.py       libvirt's callbacks -> MachineEvent
domains.py      what is known of our domains, and what their states mean
machine.py      the Machine port        guests.py  the Guests port        networks.py  the Networks port
"""
