"""`Instructions`: what to set by hand so that a client uses a server, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.clients.client import NO_KEY, Client, Target
from server.clients.documents import content_of, render

SERVER_KEY = "CORRAL_API_KEY"
"""Printed lines take a server's key from this variable: a key itself is never printed."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """The settings for one client and target. `environment` leaves `key_variables` out."""

    name: str
    client: Client
    target: Target

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON for programs."""
        setup = self.client.set_up(self.target)
        return {
            "client": self.name,
            "title": self.client.title,
            "install": self.client.install,
            "url": self.target.url,
            "model": self.target.model,
            "context_length": self.target.context,
            "least_context": self.client.least_context,
            "environment": dict(setup.environment),
            "unset": list(setup.unset),
            "key_variables": list(setup.key_variables),
            "needs_key": self.target.needs_key,
            "files": [
                {
                    "path": one.user_path,
                    "form": one.form,
                    "content": content_of(one),
                    "text": render(content_of(one), one.form),
                }
                for one in setup.documents
            ],
            "command": self._command(),
            "notes": setup.notes,
        }

    def text(self) -> str:
        """Return the settings as lines for a shell, with files and notes in comments."""
        setup = self.client.set_up(self.target)
        lines = [f"# {self.client.title} with {self.target.model} at {self.target.url}"]
        if self.target.needs_key:
            lines.append(f"# {SERVER_KEY} holds the server's key")
        lines += [f"unset {name}" for name in setup.unset]
        lines += export_lines(setup.environment, setup.key_variables, needs_key=self.target.needs_key)
        for one in setup.documents:
            lines += ["", f"# {one.user_path}", render(content_of(one), one.form).rstrip("\n")]
        if setup.notes is not None:
            lines += ["", *(f"# {line}" for line in setup.notes.splitlines())]
        if (command := self._command()) is not None:
            lines += ["", f"# start it: {command}"]
        return "\n".join(lines) + "\n"

    def _command(self) -> str | None:
        if self.client.program is None:
            return None
        return shlex.join([self.client.program, *self.client.set_up(self.target).arguments])


def export_lines(
    environment: Mapping[str, str], key_variables: Sequence[str], *, needs_key: bool
) -> list[str]:
    """Return the variables as lines for a shell; a key is taken from CORRAL_API_KEY."""
    key = f'"${SERVER_KEY}"' if needs_key else NO_KEY
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        *(f"export {name}={key}" for name in key_variables if not (needs_key and name == SERVER_KEY)),
    ]
