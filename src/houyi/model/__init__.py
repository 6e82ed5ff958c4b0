"""Nouns and laws: what things are (Spec), what is true of them (Status), and which states may follow which (NEXT).

Pure: no clock, no randomness, no input or output, nothing but the standard library's data types.
"""
