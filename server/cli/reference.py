"""`stored_reference`: the model that was typed, where a short name is enough for one that is here."""

from __future__ import annotations

from models.errors import InvalidReference
from models.reference import ModelRef
from models.store.short_names import Shortness, full_reference
from models.store.store import ModelStore
from server.cli.console import say


def stored_reference(
    text: str, store: ModelStore, shortness: Shortness = "beginning", *, quiet: bool = False
) -> ModelRef:
    """Return the parsed reference, with the whole name of the model in the store that it means.

    A name that another program has for an imported model, such as Ollama's `llama3.2:3b`, means that model.
    Unless it is to be `quiet`, what was made of a short name is said on stderr, and what is wrong with the
    files of a model of that name.
    Raises what parsing raises, and InvalidReference for a short name of several models.
    """
    listing = store.scan()
    try:
        ref = ModelRef.parse(text)
    except InvalidReference:
        titles = {model.manifest.source.title: model.name for model in listing.models}
        if text not in titles:
            raise
        full = ModelRef(kind="hub", repo=titles[text])
    else:
        full = full_reference(ref, (model.name for model in listing.models), shortness)
    if quiet:
        return full
    if full.repo is not None and not text.strip().startswith(full.repo):
        say(f"{text}: {full}")
    for problem in listing.problems:
        if problem.startswith(f"{full.name}:"):
            say(f"corral: {problem}")
    return full
