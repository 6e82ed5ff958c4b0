"""What this machine can do, found out by trying: `kvm.py` runs guest code, `facts.py` and `load.py` read the rest."""
