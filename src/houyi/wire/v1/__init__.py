"""JSON of the public API, one file a noun: what is asked (extra fields refused) and what is answered (fields may be added later).

Field names are flat, units come last, times are RFC 3339 texts in UTC (null: never), ids and names stand side by side (`host_id`, `host_name`).
An empty text means "none".
"""
