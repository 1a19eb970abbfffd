"""The web pages: the chat page at `/`, the API's documentation at `/docs`, and the files of both."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from server.http.dependencies import api_of
from server.pages.files import HEADERS, page_files

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request) -> Response:
    """The chat page; without it a page that says where things are."""
    return _file(request, "chat.html" if api_of(request).config.web_page else "plain.html")


@router.get("/docs")
async def documentation(request: Request) -> Response:
    """The API's documentation, drawn from `/openapi.json`."""
    return _file(request, "docs.html")


@router.get("/web/assets/{path:path}")
async def asset(request: Request, path: str) -> Response:
    """One file of the pages."""
    return _file(request, path)


def _file(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": found.tag}
    tags = request.headers.get("if-none-match", "")
    if found.tag in (tag.strip().removeprefix("W/") for tag in tags.split(",")):
        return Response(status_code=304, headers=headers)
    body = found.body
    if found.packed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
        body, headers["Content-Encoding"] = found.packed, "gzip"
    return Response(body, media_type=found.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """True if the header names gzip, and not with the weight 0."""
    for each in accepted.split(","):
        coding, _, weight = each.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
