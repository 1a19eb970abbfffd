"""`GET` and `POST /tools`, llama-server's: the tools that this server runs for its clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from models.errors import RequestError
from server.http import refusals
from server.http.dependencies import api_of
from server.http.error_response import error_response
from server.openai import sse
from server.toolbox.tool import Tool, ToolCall, ToolFailure, UnknownTool

router = APIRouter(tags=["llama-server"])

_RUNTIME_HEADER = "x-tool-runtime"
_FOLDER_HEADER = "x-tool-cwd"


class ToolRequest(BaseModel):
    """The body of `POST /tools`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tool: Annotated[str, Field(max_length=256)]
    params: Annotated[dict[str, Any], Field(description="The tool's arguments, by name.")] = {}
    stream: Annotated[bool, Field(description="True: the output comes as events, while it is made.")] = False


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ToolRequest.model_json_schema()}},
    }
}


@router.get("/tools")
async def list_tools(request: Request) -> Response:
    """The tools that `POST /tools` calls; `definition` is what a chat's `tools` takes."""
    toolbox = api_of(request).toolbox
    if toolbox is None:
        return error_response(refusals.tools_are_off())
    return JSONResponse([tool.document() for tool in await toolbox.list()])


@router.post("/tools", openapi_extra=_BODY)
async def call_tool(request: Request) -> Response:
    """Call a tool. A call that comes to nothing is answered too: `{"error": …}`, for the model to read."""
    api = api_of(request)
    if api.toolbox is None:
        return error_response(refusals.tools_are_off())
    body = await api.read_small(request, ToolRequest)
    if runtime := request.headers.get(_RUNTIME_HEADER):
        raise RequestError(
            f"unknown tool runtime {runtime[:80]!r}: tools run on this machine; leave out {_RUNTIME_HEADER}",
            param=_RUNTIME_HEADER,
        )
    try:
        tool = await api.toolbox.find(body.tool)
    except UnknownTool:
        return error_response(refusals.unknown_tool(body.tool))
    if body.stream and not tool.streams:
        raise RequestError(f"{tool.name} can't be streamed; leave out stream", param="stream")
    # A folder that the model names isn't the client's.
    arguments = {name: value for name, value in body.params.items() if name != "cwd"}
    folder = request.headers.get(_FOLDER_HEADER)
    if body.stream:
        return StreamingResponse(_events(tool, arguments, folder), media_type=sse.CONTENT_TYPE)
    try:
        return JSONResponse(await tool.call(ToolCall(arguments, folder)))
    except ToolFailure as error:
        return JSONResponse({"error": str(error)})


async def _events(tool: Tool, arguments: dict[str, Any], folder: str | None) -> AsyncIterator[bytes]:
    """Yield `{"chunk"}` for each part of the output, then `{"done"}`. A client that goes ends the call."""
    chunks: asyncio.Queue[str | None] = asyncio.Queue()
    failure = ""

    async def run() -> None:
        nonlocal failure
        try:
            await tool.call(ToolCall(arguments, folder, chunks.put_nowait))
        except ToolFailure as error:
            failure = str(error)
        finally:
            chunks.put_nowait(None)

    running = asyncio.create_task(run())
    try:
        while (chunk := await chunks.get()) is not None:
            yield _event({"chunk": chunk, "done": False})
        yield _event({"done": True} | ({"error": failure} if failure else {}))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _event(value: dict[str, Any]) -> bytes:
    return sse.escape_line_ends(sse.data(msgspec.json.encode(value)))
