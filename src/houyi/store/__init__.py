"""What is remembered. SQL lives here and nowhere else.

`store.py` has the one way to write and the one way to read; `tables.py` the schema; `rows/<noun>.py` the mutations, `views/<noun>.py` the reads.
"""
