"""`select`: the candidates that names mean, as the other program's users write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import InvalidReference, ModelNotFound
from models.imports.candidate import Candidate
from models.imports.names import type_in
from models.store.short_names import listing

LATEST = ":latest"


def select(candidates: Sequence[Candidate], names: Sequence[str]) -> list[Candidate]:
    """Return the candidates that `names` mean, in their order; all without names.

    A name is a title or a file's label, with or without `:latest`, or the end of one after a slash; `:TYPE`
    chooses among the files of a title, and a model of Ollama whose only tag isn't `latest` needs none.
    Raises ModelNotFound, which says what there is, and InvalidReference for a name of several models.
    """
    if not names:
        return list(candidates)
    chosen: dict[str, Candidate] = {}
    for name in names:
        for candidate in _meant(candidates, name):
            chosen.setdefault(candidate.label, candidate)
    return list(chosen.values())


def _meant(candidates: Sequence[Candidate], name: str) -> list[Candidate]:
    wanted = name.lower()
    for spelling in (wanted, f"{wanted}{LATEST}"):
        same = [one for one in candidates if spelling in (one.title.lower(), one.label.lower())]
        if same:
            return same
    base, colon, tail = wanted.rpartition(":")
    type_ = type_in(tail) if colon else None
    if type_ is not None:
        of_type = [one for one in candidates if one.type_hint == type_ and _ends(one, base)]
        if of_type:
            return of_type
    alike = [one for one in candidates if _ends(one, wanted)]
    titles = sorted({one.title for one in alike})
    if len(titles) > 1:
        raise InvalidReference(f"{name} can be {listing(titles)}; give more of the name")
    if alike:
        return alike
    there = listing(sorted({one.title for one in candidates})) if candidates else "nothing"
    raise ModelNotFound(f"there is no {name}; there is {there}")


def _ends(candidate: Candidate, text: str) -> bool:
    """True if `text` is the title, its last part, or either without a tag."""
    spellings = {candidate.title.lower(), candidate.label.lower()}
    spellings |= {one.rpartition("/")[2] for one in spellings}
    spellings |= {one.partition(":")[0] for one in spellings}
    return text in spellings
