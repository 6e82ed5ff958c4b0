"""VM exits by reason, counted by the kernel itself: the one door to tracefs.

tracefs.py   files of a tracing instance of our own, so that nobody else's tracing is disturbed
kvm.py       what is asked of it: histogram triggers that several questions share, removed with the last of them
threads.py   which threads are a VM's vCPUs
"""
