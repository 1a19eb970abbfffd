"""Ollama's models on this disk: its manifests and the blobs that they name.

    manifests/registry.ollama.ai/library/llama3.2/3b    JSON: the layers, each a media type and a digest
    blobs/sha256-<64 hex digits>                        their bytes

A layer is the model, or what is around it: template, system message, parameters, first messages, licence,
adapter, projector. Nothing in a manifest is believed before it is checked: it may come from anyone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from models.errors import ModelNotFound
from models.imports.candidate import Candidate, NotImported, Part, is_folder, plain_size
from models.imports.names import store_names, without_type

PROGRAM: Final = "ollama"

LARGEST_MANIFEST_BYTES: Final = 1 << 20
LARGEST_TEXT_BYTES: Final = 4 << 20
"""A template, a system message or parameters with more bytes are refused."""
MOST_LAYERS: Final = 1000

_HOME: Final = "registry.ollama.ai"
_LAYER: Final = "application/vnd.ollama.image."
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-f]{64})")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_T = TypeVar("_T")
_TAKEN: Final = ("model", "license", "template", "system", "params", "messages", "projector")


class _Layer(msgspec.Struct, frozen=True):
    mediaType: str  # noqa: N815 - the manifest's word
    digest: str
    size: int


class _Manifest(msgspec.Struct, frozen=True):
    config: _Layer | None = None
    layers: list[_Layer] = []


class _Config(msgspec.Struct, frozen=True):
    model_format: str | None = None
    file_type: str | None = None
    remote_host: str | None = None


def ollama_folder(given: Path | None, env: Mapping[str, str], home: Path) -> Path:
    """Return the folder with `manifests` and `blobs`: in `given` if it is, else where Ollama has it.

    Raises ModelNotFound, which says where it was looked for.
    """
    if given is not None:
        places = [given, given / "models"]
    elif env.get("OLLAMA_MODELS"):
        places = [Path(env["OLLAMA_MODELS"]).expanduser()]
    else:
        # A service has the home of its own user.
        places = [
            home / ".ollama" / "models",
            Path("/usr/share/ollama/.ollama/models"),
            Path("/var/lib/ollama/models"),
        ]
    for place in places:
        if is_folder(place / "manifests"):
            return place.absolute()
    looked = " or ".join(map(str, places))
    raise ModelNotFound(
        f"there are no models of Ollama that can be read in {looked}; give their folder with --from"
    )


def ollama_candidates(folder: Path) -> list[Candidate]:
    """Return all models of the folder, by their names; those that can't be imported say why."""
    return [_candidate(folder, *place) for place in _places(folder / "manifests")]


def _places(manifests: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield each manifest with its place: host, namespace, model, tag."""
    for path in sorted(manifests.glob("*/*/*/*")):
        place = path.relative_to(manifests).parts
        if not any(part.startswith(".") for part in place) and not is_folder(path):
            yield path, place


def _candidate(folder: Path, path: Path, place: tuple[str, ...]) -> Candidate:
    host, owner, model, tag = place
    title = f"{model}:{tag}"
    if (host, owner) != (_HOME, "library"):
        title = f"{owner}/{title}" if host == _HOME else f"{host}/{owner}/{title}"
    try:
        for part in place:
            if not _NAME.fullmatch(part):
                raise NotImported(f"{part[:80]!r} in its name is no word of Ollama's")
        return _read(folder, path, title, place)
    except NotImported as problem:
        return Candidate(PROGRAM, title, title, problem=problem.message)


def _read(folder: Path, path: Path, title: str, place: tuple[str, ...]) -> Candidate:
    _, owner, model, tag = place
    manifest = _decode(_bytes_of(path, LARGEST_MANIFEST_BYTES), _Manifest, "its manifest")
    if len(manifest.layers) > MOST_LAYERS:
        raise NotImported(f"its manifest has {len(manifest.layers):,} layers, more than {MOST_LAYERS:,}")
    config = _Config()
    if manifest.config is not None:
        config = _decode(_text(folder, manifest.config), _Config, "its configuration")
    if config.remote_host:
        raise NotImported(f"it runs at {config.remote_host[:80]} and has no file here")
    layers: dict[str, list[_Layer]] = {}
    for layer in manifest.layers:
        kind = layer.mediaType.removeprefix(_LAYER).partition(";")[0]
        layers.setdefault(kind, []).append(layer)
    weights = _weights(layers, config)
    settings = _settings(folder, layers)
    plain, type_ = without_type("" if tag == "latest" else tag)
    return Candidate(
        PROGRAM,
        title,
        title,
        names=store_names(
            PROGRAM,
            None if owner == "library" else owner,
            "-".join(filter(None, (model, plain))),
            model if tag == "latest" else f"{model}-{tag}",
        ),
        parts=(_blob(folder, weights),),
        projector=_projector(folder, layers),
        type_hint=type_,
        remarks=tuple(_remarks(settings)),
        settings=settings,
    )


def _weights(layers: Mapping[str, list[_Layer]], config: _Config) -> _Layer:
    """Return the layer of the model's weights. Raises NotImported where they aren't one GGUF alone."""
    if "adapter" in layers:
        raise NotImported("it is a model with an adapter; serve its base with --lora and the adapter's file")
    if "tensor" in layers or config.model_format not in (None, "", "gguf"):
        raise NotImported(f"its weights are no GGUF ({config.model_format or 'single tensors'})")
    strange = [kind for kind in layers if kind not in _TAKEN]
    if strange:
        raise NotImported(f"it has a layer of an unknown kind ({strange[0][:80]})")
    weights = layers.get("model", [])
    if len(weights) != 1:
        raise NotImported(f"it has {len(weights) or 'no'} layers with weights, and one is understood")
    return weights[0]


def _projector(folder: Path, layers: Mapping[str, list[_Layer]]) -> Part | None:
    """Return the file of the projector. Raises NotImported for several."""
    found = layers.get("projector", [])
    if len(found) > 1:
        raise NotImported(f"it has {len(found)} projectors, and one is understood")
    return _blob(folder, found[0]) if found else None


def _settings(folder: Path, layers: Mapping[str, list[_Layer]]) -> dict[str, Any]:
    """Return what Ollama says around the weights."""
    settings: dict[str, Any] = {}
    for kind, name in (("params", "parameters"), ("messages", "messages")):
        for layer in layers.get(kind, ())[-1:]:
            try:
                settings[name] = json.loads(_text(folder, layer))
            except (ValueError, RecursionError) as error:
                raise NotImported(f"its {name} are no JSON") from error
    for kind in ("system", "template"):
        for layer in layers.get(kind, ())[-1:]:
            settings[kind] = _text(folder, layer).decode("utf-8", "replace")
    return settings


def _remarks(settings: Mapping[str, Any]) -> Iterator[str]:
    parameters = settings.get("parameters")
    if parameters:
        shown = parameters
        if isinstance(parameters, dict):
            shown = ", ".join(
                f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in parameters.items()
            )
        yield f"its parameters aren't taken over, requests or flags of corral serve can name them: {shown}"
    if settings.get("system"):
        yield "its system message isn't taken over; chats can begin with it"
    if settings.get("messages"):
        yield "its first messages aren't taken over; chats can begin with them"


def _blob(folder: Path, layer: _Layer) -> Part:
    """Return the file of a layer. Raises NotImported for what is no digest, or a file of another size."""
    digest = _DIGEST.fullmatch(layer.digest)
    if digest is None:
        raise NotImported(f"{layer.digest[:80]!r} in its manifest is no sha256 digest")
    path = folder / "blobs" / f"sha256-{digest[1]}"
    size_bytes = plain_size(path)
    if size_bytes != layer.size:
        raise NotImported(f"{path} has {size_bytes:,} bytes and its manifest says {layer.size:,}")
    return Part(path, size_bytes, digest[1])


def _text(folder: Path, layer: _Layer) -> bytes:
    """Return the bytes of a small layer, which have its digest."""
    part = _blob(folder, layer)
    data = _bytes_of(part.path, LARGEST_TEXT_BYTES)
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise NotImported(f"{part.path} hasn't the sha256 of its name")
    return data


def _bytes_of(path: Path, limit: int) -> bytes:
    size_bytes = plain_size(path)
    if size_bytes > limit:
        raise NotImported(f"{path} has {size_bytes:,} bytes, more than the {limit:,} that are read of it")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise NotImported(f"{path} can't be read: {error.strerror or error}") from error


def _decode(data: bytes, form: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotImported(f"{what} can't be read ({error})") from error
