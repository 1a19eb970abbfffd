"""`apply_layers` and `prepare`: a request's body as the preset that it names has it. Pure.

What is forced stands before what the client says, and that before a preset's default. A preset that names
another one is a client of it: its own layer comes first, then the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from server.ollama.names import plain_name
from server.presets.body import Body, NotAnObject
from server.presets.forms import form_in
from server.presets.parameters import ANSWERING, SCHEMAS, place_in, spellings, stripped_paths
from server.presets.system import put_system
from server.presets.table import Choice, Layer, PresetTable, decoded

USERS = ("safety_identifier", "user", "prompt_cache_key", "metadata.user_id")
"""The fields that name a client's user, the first one that is given counts; the last is Anthropic's."""


class Asker(NamedTuple):
    """Whoever asks, as far as the choice of an arm depends on it."""

    owner: str = ""
    """The owner of the API key."""
    session: str = ""
    """The client's session by a header: it stands for a user where the body names none."""
    draw: float = 0.0
    """A number from 0 to 1, for those who are nobody."""


def prepare(
    table: bytes, asker: Asker, purpose: str, body: bytes, default: str = ""
) -> tuple[bytes, Choice | None]:
    """Return the body as it is to be read, and what was chosen if it names a preset of the encoded table.

    A body that names no model names the preset `default`, if there is one. A body that is no object stays as
    it is: its schema refuses it.
    """
    try:
        request = Body(body)
    except NotAnObject:
        return body, None
    presets: PresetTable = decoded(table)
    if default and request.raw("model") in (None, b'""'):
        request.put("model", default)
        body = request.json()
    name = request.text("model")
    preset = presets.find(plain_name(name) if purpose.startswith("ollama_") else name)
    if preset is None:
        return body, None
    user = next((text for path in USERS if (text := request.text(path))), asker.session)
    target = preset.target_of(asker.owner, user, asker.draw)
    notes: list[str] = []
    if purpose in SCHEMAS and any(not layer.is_empty for layer in target.layers):
        notes = apply_layers(target.layers, request, purpose)
        body = request.json()
    if target.adapters and request.drop("lora"):
        notes.append(f"the preset '{preset.name}' puts its adapters in place of 'lora'")
        body = request.json()
    return body, Choice(
        preset=preset.name,
        label=preset.label(target),
        model=target.model,
        adapters=target.adapters,
        notes=tuple(notes),
    )


def apply_layers(layers: Sequence[Layer], request: Body, purpose: str) -> list[str]:
    """Change a request for `purpose`; return sentences about what a client or an operator may miss."""
    notes: list[str] = []
    for layer in layers:
        removed = [name for name in layer.strip if request.drop_all(stripped_paths(name))]
        notes += [f"the preset '{layer.name}' removes '{name}' from requests" for name in removed]
        for name, value in layer.force.items():
            _force(request, purpose, layer, name, value, notes)
        for name, value in layer.default.items():
            if not any(request.has(path) for path in spellings(name)):
                _put(request, purpose, layer, name, value, notes)
        if layer.system is not None and not put_system(request, purpose, layer.system, layer.system_mode):
            _note_vain(purpose, layer, "system", notes)
    return notes


def _force(request: Body, purpose: str, layer: Layer, name: str, value: Any, notes: list[str]) -> None:
    if _placed(purpose, name, value) is not None and request.drop_all(spellings(name)):
        notes.append(f"the preset '{layer.name}' has its own '{name}' in place of the client's")
    _put(request, purpose, layer, name, value, notes)


def _put(request: Body, purpose: str, layer: Layer, name: str, value: Any, notes: list[str]) -> None:
    placed = _placed(purpose, name, value)
    if placed is None:
        _note_vain(purpose, layer, name, notes)
    elif placed[1] is not None:
        request.put(*placed)


def _placed(purpose: str, name: str, value: Any) -> tuple[str, Any] | None:
    """Return the path of a parameter in a purpose's request, and the value that it has there; None: none.

    A value of None there is none: nothing is put.
    """
    place = place_in(purpose, name)
    return form_in(purpose, name, value) if place is None else (place, value)


def _note_vain(purpose: str, layer: Layer, name: str, notes: list[str]) -> None:
    if purpose in ANSWERING:
        notes.append(f"the preset '{layer.name}' sets '{name}', for which a request here has no place")
