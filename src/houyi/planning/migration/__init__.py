"""Moves of VMs between hosts, as far as they can be thought without hands: where a VM lives, what comes next, how it is steered, what to expect."""
