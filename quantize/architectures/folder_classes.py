"""`folder_classes`: the classes in a folder's files that name models of the Hub."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def folder_classes(folder: ModuleType) -> tuple[type[Any], ...]:
    """Return the classes with `huggingface_names` of their own, in the order of the files.

    A class counts in the file that defines it.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    modules = [importlib.import_module(f"{folder.__name__}.{name}") for name in names]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and "huggingface_names" in vars(value)
    )
