"""The source of the user's messages: a terminal with line editing and history, or stdin's lines."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.paths import Paths

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings

# A message of several lines begins and ends with these.
QUOTES = '"""'


class Input(Protocol):
    """A source of messages. It is `interactive` if somebody looks at the answers while they come."""

    interactive: bool

    async def read(self) -> str | None:
        """Return the next message, or None at the end."""


def open_input() -> Input:
    """Return the terminal's input if there is one, else stdin's."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalInput(Paths.from_environment().home / "chat_history")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a byte that is no text is no reason to end
    return LineInput(sys.stdin.readline)


class LineInput:
    """Messages from lines: each is one, and three double quotes join several."""

    interactive = False

    def __init__(self, readline: Callable[[], str]) -> None:
        self._readline = readline

    async def read(self) -> str | None:
        line = await asyncio.to_thread(self._readline)
        if not line:
            return None
        text = line.rstrip("\r\n")
        while opens_block(text):
            more = await asyncio.to_thread(self._readline)
            if not more:
                break
            text += "\n" + more.rstrip("\r\n")
        return unquote(text)


class TerminalInput:
    """Messages from prompt_toolkit's line editor. Enter sends, Alt-Enter begins a new line."""

    interactive = True

    def __init__(self, history: Path) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        try:
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)
            file: FileHistory | InMemoryHistory = FileHistory(str(history))
        except OSError:
            file = InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            history=file, key_bindings=_bindings(), multiline=False, prompt_continuation="  "
        )

    async def read(self) -> str | None:
        text = ""
        while True:
            try:
                line = await self._session.prompt_async("  " if text else "> ", handle_sigint=False)
            except KeyboardInterrupt:
                text = ""
                continue
            except EOFError:
                return None
            text = f"{text}\n{line}" if text else line
            if not opens_block(text):
                return unquote(text)


def opens_block(text: str) -> bool:
    """True if three double quotes have begun a message and not ended it."""
    return text.lstrip().startswith(QUOTES) and not (
        text.rstrip().endswith(QUOTES) and len(text.strip()) >= 2 * len(QUOTES)
    )


def unquote(text: str) -> str:
    """Return the message without the three double quotes around it."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return text


def _bindings() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("escape", "enter")
    def _new_line(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return bindings
