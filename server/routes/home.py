"""`GET /`: a plain page that says where things are."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from models.version import VERSION

router = APIRouter(include_in_schema=False)

_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Corral</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem;
}}</style> <h1>Corral {VERSION}</h1> <p>An OpenAI-compatible server for GGUF models. Point a client at
<code>/v1</code>.</p> <ul> <li><a href="/docs">API documentation</a> (the page's scripts come from the
Internet; <a href="/openapi.json">openapi.json</a> doesn't need it)</li> <li><a
href="/v1/models">Models</a></li> <li><a href="/ready">Ready?</a></li> </ul> </html>
"""


@router.get("/", response_class=HTMLResponse)
async def home() -> HTMLResponse:
    return HTMLResponse(_PAGE)
