"""`BUILTIN`: the built-in tools, by llama-server's names and with its parameters."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
from codecs import getincrementaldecoder
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.machine.child_process import module_command
from server.toolbox.builtin.arguments import Arguments
from server.toolbox.builtin.child import WORK
from server.toolbox.tool import Tell, Tool, ToolCall, ToolFailure

FILE_WORK_S = 60.0
"""A tool that works on files has so many seconds."""
_COMMAND_S = 10
_MOST_COMMAND_S = 600
_OUTPUT_BYTES = 64 << 10
_MOST_OUTPUT_BYTES = 1 << 20
_CHUNK = 4096


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _switch(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


class FileTool(Tool):
    """A tool whose work a child process does."""

    kind = "builtin"

    def __init__(self, name: str, description: str, parameters: Mapping[str, Any], *, writes: bool) -> None:
        assert name in WORK
        self.name, self.description, self.parameters, self.writes = name, description, parameters, writes

    async def call(self, call: ToolCall) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *module_command("server.toolbox.builtin.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        task = {"tool": self.name, "arguments": dict(call.arguments), "cwd": call.cwd}
        try:
            written, _ = await asyncio.wait_for(process.communicate(json.dumps(task).encode()), FILE_WORK_S)
        except TimeoutError as error:
            raise ToolFailure(f"{self.name} took more than {FILE_WORK_S:g} s; ask for less") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ToolFailure(f"{self.name} failed; the server's log says why")
        result: dict[str, Any] = json.loads(written)
        if "error" in result:
            raise ToolFailure(result["error"])
        return result


class ShellTool(Tool):
    """A command of the shell, with its output."""

    kind = "builtin"
    name = "exec_shell_command"
    description = "Run a shell command and return what it writes to its output and error output."
    writes = True
    streams = True
    parameters = _object(
        ("command",),
        command=_text("The command, for sh"),
        timeout=_number(f"Seconds that it may take: 1 to {_MOST_COMMAND_S}, {_COMMAND_S} if it is left out"),
        max_output_size=_number(
            f"Most bytes of output: up to {_MOST_OUTPUT_BYTES}, {_OUTPUT_BYTES} if it is left out"
        ),
    )

    async def call(self, call: ToolCall) -> dict[str, Any]:
        given = Arguments(call.arguments, call.cwd)
        command = given.text("command")
        timeout_s = given.whole("timeout", _COMMAND_S, 1, _MOST_COMMAND_S)
        n_bytes = given.whole("max_output_size", _OUTPUT_BYTES, 1, _MOST_OUTPUT_BYTES)
        try:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=given.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ToolFailure(f"the command can't be run in {given.cwd}: {error}") from error
        output = _Output(n_bytes, call.tell)
        try:
            await asyncio.wait_for(output.read(process), timeout_s)
            output.add(f"\n[exit code: {await process.wait()}]")
        except TimeoutError:
            output.add(f"\n[ended after {timeout_s} s; raise timeout, or ask for less]")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return {"plain_text_response": output.text}


class _Output:
    """The output of a command, as far as it is kept."""

    def __init__(self, most_bytes: int, tell: Tell | None) -> None:
        self.text = ""
        self._left = most_bytes
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")
        self._tell = tell

    async def read(self, process: asyncio.subprocess.Process) -> None:
        """Read all, since a command whose output nobody reads stands still."""
        assert process.stdout is not None
        while part := await process.stdout.read(_CHUNK):
            if self._left > 0:
                self.add(self._decoder.decode(part[: self._left]))
                self._left -= len(part)
                if self._left <= 0:
                    self.add("\n[the output is longer; raise max_output_size]")

    def add(self, text: str) -> None:
        self.text += text
        if self._tell is not None:
            self._tell(text)


class InfoTool(Tool):
    """The machine's system and the folder of calls."""

    kind = "builtin"
    name = "get_info"
    description = "Return the name and version of the operating system, and the working directory."
    parameters = _object(())
    writes = False

    async def call(self, call: ToolCall) -> dict[str, Any]:
        return {
            "plain_text_response": f"OS: {platform.platform()}\nWorking directory: {call.cwd or Path.cwd()}\n"
        }


_FILTERS = {
    "include": _text("Glob of the paths to take, such as *.py or src/**/*.py; ** if it is left out"),
    "exclude": _text("Glob of the paths to leave out"),
}
BUILTIN: tuple[Tool, ...] = (
    FileTool(
        "read_file",
        "Read a text file, whole or from one line to another.",
        _object(
            ("path",),
            path=_text("Path of the file"),
            start_line=_number("First line to read; lines are numbered from 1"),
            end_line=_number("Last line to read; -1 is the end"),
            append_loc=_switch("Put its number in front of each line"),
        ),
        writes=False,
    ),
    FileTool(
        "file_glob_search",
        "List the files below a folder by a glob of their paths.",
        _object(
            ("path",),
            path=_text("The folder to look in"),
            **_FILTERS,
            type=_text('What to list: "file", "dir" or "all"'),
            max_depth=_number("Depth of folders to look into; 1 is the folder itself, 0 any"),
            limit=_number("Most entries to return"),
        ),
        writes=False,
    ),
    FileTool(
        "grep_search",
        "Look for a regular expression in the lines of files.",
        _object(
            ("path", "pattern"),
            path=_text("A file, or a folder to look in"),
            pattern=_text("The regular expression, in Python's form"),
            **_FILTERS,
            return_line_numbers=_switch("Tell the number of each line"),
            literal=_switch("Take the pattern as a plain text"),
            ignore_case=_switch("Take upper and lower case as the same"),
            context_lines=_number("Lines to return before and after each match"),
        ),
        writes=False,
    ),
    FileTool(
        "write_file",
        "Write a whole file; missing folders are made.",
        _object(("path", "content"), path=_text("Path of the file"), content=_text("Its whole content")),
        writes=True,
    ),
    FileTool(
        "edit_file",
        "Replace pieces of a text file.",
        _object(
            ("path", "edits"),
            path=_text("Path of the file"),
            edits={
                "type": "array",
                "description": "The replacements; all are made, or none",
                "items": _object(
                    ("old_text", "new_text"),
                    old_text=_text("A text that is in the file exactly once"),
                    new_text=_text("The text to put in its place"),
                ),
            },
        ),
        writes=True,
    ),
    ShellTool(),
    InfoTool(),
)
"""All of them."""
