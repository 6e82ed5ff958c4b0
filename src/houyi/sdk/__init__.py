"""The Python client: sync and async over one core. What travels is the API's own JSON; what is refused is raised as model.errors.

Conventions of the API that it relies on: a list answers {"items", "revision", "next"} and takes `page` (the last page's `next`) and `limit`;
`?watch=1&since=REV` streams one JSON object a line, {"revision", "change", "object"} with change "changed" or "removed" (`object` then holds
its id), and lines without `object` only move the revision on; a refusal is application/problem+json with `code` and `detail`.
"""
