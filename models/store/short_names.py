"""Short names of models that are here: `smollm2` for `HuggingFaceTB/SmolLM2-135M-Instruct`. Pure.

A short name has no slash. It means the model whose name it is; else the one whose last part it is; else the
one whose last part begins with it, up to a dash, a dot or an underscore. Case doesn't matter where it decides
nothing. Several of a kind are an error that lists them: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from models.errors import InvalidReference, ModelNotFound
from models.reference import ModelRef

Shortness = Literal["beginning", "last part", "exact"]
"""The shortest form that is understood: a beginning; a whole last part; that, letter by letter.

A command that downloads takes a beginning for a name of the Hub, one that deletes is to be told exactly.
"""

LISTED = 8
"""An error lists at most this many names."""


def full_reference(ref: ModelRef, names: Iterable[str], shortness: Shortness = "beginning") -> ModelRef:
    """Return `ref` with the whole name of the one model among `names` that it means, or as it is for none.

    Raises InvalidReference where several are meant, and, where the name must be exact, ModelNotFound that
    names what was nearly meant.
    """
    if ref.kind != "hub" or ref.repo is None or "/" in ref.repo:
        return ref
    everything = sorted(set(names))
    if ref.repo in everything:
        return ref
    alike = matching_names(ref.repo, everything)
    same = [name for name in alike if _last_part(name) == ref.repo]
    if shortness == "exact" and alike and not same:
        raise ModelNotFound(
            f"no model is called {ref.repo}; give the whole name, such as {listing(alike)}, or its last part"
        )
    if shortness == "last part":
        alike = [name for name in alike if _last_part(name).lower() == ref.repo.lower()]
    meant = same or alike
    if len(meant) > 1:
        raise InvalidReference(f"{ref.repo} can be {listing(meant)}; give more of the name")
    return replace(ref, repo=meant[0]) if meant else ref


def full_name(text: str, names: Iterable[str]) -> str:
    """Return `name[:TYPE]` with the whole name among `names`, which may have types themselves.

    A text that means none of them stays as it is. Raises InvalidReference where several are meant.
    """
    base, colon, type_ = text.partition(":")
    plain = {name.partition(":")[0] for name in names}
    full = full_reference(ModelRef(kind="hub", repo=base), plain)
    return f"{full.repo}{colon}{type_}"


def matching_names(text: str, names: Iterable[str]) -> list[str]:
    """Return the names that `text` is short for: those of the nearest kind that has any."""
    wanted = text.lower()
    everything = [(name, name.lower()) for name in names]
    kinds = (
        [name for name, lower in everything if lower == wanted],
        [name for name, lower in everything if _last_part(lower) == wanted],
        [name for name, lower in everything if _begins(_last_part(lower), wanted)],
    )
    return next((kind for kind in kinds if kind), [])


def listing(names: Sequence[str]) -> str:
    """Return `a, b or c`, cut where it gets long."""
    if len(names) > LISTED:
        return f"{', '.join(names[:LISTED])} or {len(names) - LISTED} more"
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _begins(name: str, beginning: str) -> bool:
    rest = name.removeprefix(beginning)
    return rest != name and not rest[:1].isalnum()
