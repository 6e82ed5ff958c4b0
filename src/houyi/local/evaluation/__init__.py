"""`houyi bench`: the same programs on this machine, in a container on it, and in VMs (docs/EVALUATION.md).

Every place keeps the protocol of place.py; run.py goes through benchmarks and places. What programs say is read, and places are compared, in planning/evaluation.
"""
