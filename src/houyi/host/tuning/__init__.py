"""Host knobs: files of the kernel, parameters of its modules, a device that is held open; each with what is needed to put it back.

    lever.py    how one knob is read, set and put back
    levers.py   LEVERS: which lever each host knob of `planning.tuning` is, and where
    machine.py  the port over them

Nothing here takes a path or a text to write from outside: names are looked up in LEVERS, values in the closed lists of their knobs.
"""
