"""The Python client: sync and async over one core. What travels is the API's own JSON; what is refused is raised as model.errors.

Conventions of the API that it relies on (wire/v1/shape.py): a list answers a Page and takes `page_token`; `?watch=1&since=REV` streams one Change a
line; a refusal is application/problem+json.
"""
