"""`answer_once`: one message, and its answer on stdout as it comes."""

from __future__ import annotations

import sys
from contextlib import aclosing

from server.cli.chat.backend import Backend, ChatOptions


async def answer_once(backend: Backend, message: str, options: ChatOptions, system: str | None) -> None:
    """Print the answer. Ctrl-C stops the model, too. Raises CorralError."""
    first = [{"role": "system", "content": system}] if system else []
    begun = False
    try:
        await backend.start()
        messages = [*first, {"role": "user", "content": message}]
        async with aclosing(backend.answer(messages, options)) as pieces:
            async for piece in pieces:
                text = piece if begun else piece.lstrip()
                if text:
                    begun = True
                    sys.stdout.write(text)
                    sys.stdout.flush()
    finally:
        if begun:
            sys.stdout.write("\n")
            sys.stdout.flush()
        await backend.stop()
