"""`Launch`: the start of a client that is set up for a server, as a plan to print or carry out.

`plan` reads files and writes none. `prepare` writes them; only the command replaces the process.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import ConfigError, CorralError, StoreError
from models.store.atomic_write import write_atomically
from server.clients.client import NO_KEY, Client, Document, Target
from server.clients.documents import content_of, render, text_of
from server.clients.user_files import UserFiles


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file to write for the client. `is_users`: it is the user's own and changed with a backup."""

    path: Path
    text: str
    is_users: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """The start of a client. The values of `key_variables` are secret and not in `environment`."""

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    key_variables: tuple[str, ...]
    unset: tuple[str, ...]
    files: tuple[SettingsFile, ...]

    def prepare(self, backups: UserFiles) -> None:
        """Write the files. Raises StoreError."""
        for file in self.files:
            if file.is_users:
                backups.change(file.path, file.text)
                continue
            try:
                file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_atomically(file.path, file.text.encode(), private=True)
            except OSError as error:
                raise StoreError(
                    f"{file.path} can't be written ({error.strerror or error}); check CORRAL_HOME"
                ) from error

    def full_environment(self, env: Mapping[str, str], api_key: str | None) -> dict[str, str]:
        """Return the environment of the client: `env` with its own variables, the key among them."""
        kept = {name: value for name, value in env.items() if name not in self.unset}
        return {**kept, **self.environment, **dict.fromkeys(self.key_variables, api_key or NO_KEY)}

    def command_line(self) -> str:
        """Return the command for people, as a shell takes it."""
        return shlex.join([Path(self.program).name, *self.arguments])


def check_context(client: Client, name: str, target: Target, arguments: Sequence[str]) -> None:
    """Raise ConfigError if the client can't work in the context of the target, with what would help."""
    needed = client.context_needed(arguments)
    if target.context >= needed:
        return
    lighter = client.lighter
    other = ""
    if lighter is not None and lighter.argument not in arguments and target.context >= lighter.least_context:
        other = f", or run corral launch {name} -- {lighter.argument}"
    raise ConfigError(
        f"{client.title} needs {needed:,} tokens of context ({client.context_reason}), and {target.model} at"
        f" {target.url} has {target.context:,}; start the server with --ctx {needed}{other}"
    )


def plan(
    client: Client, name: str, target: Target, folder: Path, home: Path, arguments: Sequence[str] = ()
) -> Launch:
    """Return the client's start. Its own settings lie in `folder`, the user's below `home`.

    Raises ConfigError for settings that are there and can't be read, or a client that is no program.
    """
    if client.program is None:
        raise ConfigError(
            f"{client.title} can't be started from here; corral connect {name} prints what to set"
        )
    setup = client.set_up(target)
    environment = dict(setup.environment)
    files: list[SettingsFile] = []
    if setup.folder_variable is not None:
        environment[setup.folder_variable] = str(folder)
    for document in setup.documents:
        if document.content_variable is not None:
            environment[document.content_variable] = render(content_of(document), document.form).strip()
            continue
        is_own = setup.folder_variable is not None or document.path_variable is not None
        path = folder / Path(document.user_path).name if is_own else users_path(document, home)
        if document.path_variable is not None:
            environment[document.path_variable] = str(path)
        files.append(SettingsFile(path, text_of(document, _existing(path)), is_users=not is_own))
    return Launch(
        client.program,
        (*setup.arguments, *arguments),
        environment,
        tuple(setup.key_variables),
        tuple(setup.unset),
        tuple(files),
    )


def users_path(document: Document, home: Path) -> Path:
    """Return the place of a file where the client looks for it by itself."""
    return home / document.user_path.removeprefix("~/")


def find_program(client: Client, path: str | None) -> str:
    """Return the client's executable on `path`. Raises CorralError with the command that installs it."""
    assert client.program is not None
    found = shutil.which(client.program, path=path)
    if found is None:
        raise CorralError(
            f"{client.title} isn't installed: there is no {client.program} on PATH; install it:"
            f" {client.install}"
        )
    return found


def _existing(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read ({error}); correct it, or set it aside") from error
