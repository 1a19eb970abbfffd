"""The clients by name: every file in `programs/` is one."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import server.clients.programs as folder
from models.errors import ConfigError
from server.clients.client import Client


@cache
def clients() -> Mapping[str, Client]:
    """Return every client by its name, in the names' order."""
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    modules = {name: importlib.import_module(f"{folder.__name__}.{name}") for name in names}
    return MappingProxyType({name.replace("_", "-"): module.CLIENT for name, module in modules.items()})


def client_named(name: str) -> Client:
    """Return the client called `name`. Raises ConfigError, with the nearest name or all of them."""
    known = clients()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise ConfigError(
        f"there is no client called {name}; {hint} (any other program that speaks OpenAI's protocol: corral"
        " connect openai)"
    )
