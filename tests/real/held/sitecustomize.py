"""Python runs this by itself at the start of every program that has this folder in PYTHONPATH: an agent gets a door at which a test can hold a move up."""

import sys

if "agent" in sys.orig_argv:
    from held_door import HeldDoor

    import houyi.agent.agent

    houyi.agent.agent.NetDoor = HeldDoor
