"""Reads, one file a noun: plain functions over a connection, run by `Store.read` in one consistent snapshot.

`project_id` None means every project (administrators); otherwise what that project may see. A reference is a name or an id.
"""
