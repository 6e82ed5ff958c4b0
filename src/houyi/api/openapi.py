"""The OpenAPI document: what the framework derives from the routes, made true where it does not know (security, problems, streams)."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from houyi.api.gate import OPEN
from houyi.api.problems import MEDIA_TYPE
from houyi.wire.v1.shape import ProblemBody

_REFUSED = {
    "description": "Refused: problem details (RFC 9457) with a stable `code`; docs/ERRORS.md lists them.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
}
_METHODS = frozenset({"get", "put", "post", "patch", "delete"})
_TEXT = "An elastic-compute platform over libvirt, QEMU and KVM. Names or ids are accepted in a path; what takes time answers 202 with an operation."


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole document; the same for the same code."""
    document = get_openapi(title=app.title, version=app.version, description=_TEXT, routes=app.routes, openapi_version="3.1.0")
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in _problem_schemas().items():
        schemas[name] = schema
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": "A token 'hy_...'."}}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                operation["summary"] = operation["description"].partition(". ")[0].partition("\n")[0].rstrip(".")
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _REFUSED
                operation["security"] = [] if path in OPEN else [{"token": []}]
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["paths"] = dict(sorted(document["paths"].items()))
    return document


def _problem_schemas() -> dict[str, Any]:
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {**parts, "ProblemBody": schema}
