"""`ChatSession`: messages are read, answers streamed, and commands with a slash obeyed, in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from models.errors import CorralError, RequestError
from server.cli.chat.backend import Backend, ChatOptions
from server.cli.chat.input import Input, open_input

__all__ = ["ChatOptions", "ChatSession", "Conversation"]

HELP = """\
/system [TEXT]   set the system message (or remove it) and begin anew
/clear           begin anew
/save FILE       write the conversation as JSON
/help            this list
/exit            leave (also Ctrl-D)
Ctrl-C stops an answer. Alt-Enter begins a new line; so does a message that starts with three double quotes,
which ends with three more."""


class Conversation:
    """The messages so far, as the API takes them."""

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.turns: list[dict[str, str]] = []

    @property
    def messages(self) -> list[dict[str, str]]:
        """The system message, if there is one, and the turns."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return first + self.turns

    def clear(self) -> None:
        """Forget the turns."""
        self.turns.clear()


class ChatSession:
    """One chat in the terminal; `run` goes on until the input ends."""

    def __init__(
        self,
        backend: Backend,
        options: ChatOptions,
        system: str | None = None,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._backend = backend
        self._options = options
        self._conversation = Conversation(system)
        self._write = write or _write_stdout
        self._answering: asyncio.Task[None] | None = None
        self._leaving = False

    async def run(self, source: Input | None = None) -> None:
        """Talk until the input ends. Raises CorralError if the model can't be made ready."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        try:
            name = await self._start()
            source = source or open_input()
            if source.interactive:
                self._write(f"{name}. /help lists the commands; Ctrl-D leaves.\n")
            async for message in _until_left(source, lambda: self._leaving):
                if message.startswith("/"):
                    self._obey(message)
                elif message.strip():
                    await self._take_turn(message, timed=source.interactive)
        finally:
            await self._backend.stop()
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_signal_handler(signal.SIGTERM)

    async def _start(self) -> str:
        """Make the model ready, and return its name; Ctrl-C meanwhile ends the program."""
        starting = asyncio.ensure_future(self._backend.start())
        self._answering = asyncio.ensure_future(asyncio.wait([starting]))  # type: ignore[arg-type]  # its result is never read
        try:
            await self._answering
        except asyncio.CancelledError:
            starting.cancel()
            raise KeyboardInterrupt from None
        finally:
            self._answering = None
        return await starting

    def _interrupt(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def _terminate(self) -> None:
        self._leaving = True
        self._interrupt()

    # --- an answer ---

    async def _take_turn(self, message: str, *, timed: bool) -> None:
        turns = self._conversation.turns
        turns.append({"role": "user", "content": message})
        answer: list[str] = []
        began = time.monotonic()
        self._answering = asyncio.create_task(self._stream(answer))
        try:
            await self._answering
        except asyncio.CancelledError:
            self._write(" [stopped]")
        except CorralError as error:
            turns.pop()
            fix = " (or /clear)" if isinstance(error, RequestError) else ""
            self._write(f"\ncorral: {error.message}{fix}\n")
            return
        finally:
            self._answering = None
        seconds = time.monotonic() - began
        self._write(f"\n\x1b[2m{_rate(len(answer), seconds)}\x1b[0m\n\n" if timed else "\n")
        if answer:
            turns.append({"role": "assistant", "content": "".join(answer).strip()})
        else:
            turns.pop()

    async def _stream(self, answer: list[str]) -> None:
        async with aclosing(self._backend.answer(self._conversation.messages, self._options)) as pieces:
            async for piece in pieces:
                text = piece if answer else piece.lstrip()
                if text:
                    answer.append(text)
                    self._write(text)

    # --- commands ---

    def _obey(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        match name:
            case "/exit" | "/quit":
                self._leaving = True
            case "/clear":
                self._conversation.clear()
                self._write("A new conversation.\n")
            case "/system":
                self._conversation.system = rest or None
                self._conversation.clear()
                self._write(
                    "A new conversation with that system message.\n" if rest else "No system message.\n"
                )
            case "/save":
                self._save(rest)
            case "/help":
                self._write(f"{HELP}\n")
            case _:
                self._write(f"There is no command {name}; /help lists them.\n")

    def _save(self, rest: str) -> None:
        try:
            [name] = shlex.split(rest)
        except ValueError:
            self._write("/save takes one file name.\n")
            return
        path = Path(name).expanduser()
        try:
            path.write_text(json.dumps(self._conversation.messages, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            self._write(f"{path} can't be written: {error.strerror}\n")
            return
        self._write(f"{len(self._conversation.messages)} messages are in {path}\n")


async def _until_left(source: Input, leaving: Callable[[], bool]) -> AsyncIterator[str]:
    while not leaving():
        message = await source.read()
        if message is None:
            return
        yield message


def _rate(n_pieces: int, seconds: float) -> str:
    """Return the rate in one line. A piece is a token, but for characters that take several."""
    return f"about {n_pieces} tokens in {seconds:.1f} s, {n_pieces / max(seconds, 1e-3):,.0f} per second"


def _write_stdout(text: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        sys.stdout.write(text)
    sys.stdout.flush()
