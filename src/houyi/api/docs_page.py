"""/docs: the OpenAPI document for people, from files of our own: nothing is fetched from elsewhere."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
}


def _file(name: str, media_type: str) -> Response:
    return Response(files("houyi.api").joinpath("pages", name).read_bytes(), headers=_HEADERS, media_type=media_type)


@router.get("/docs")
async def page() -> Response:
    return _file("docs.html", "text/html; charset=utf-8")


@router.get("/docs/page.js")
async def script() -> Response:
    return _file("docs.js", "text/javascript; charset=utf-8")


@router.get("/docs/page.css")
async def style() -> Response:
    return _file("docs.css", "text/css; charset=utf-8")
