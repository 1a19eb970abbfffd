"""`search`: the Hub's models by words in their names, with the sizes of what each has to download."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from huggingface_hub import get_session, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not in __all__

from models.errors import CorralError, HubUnreachable, InvalidReference
from models.hub.download import HubSettings, list_files
from models.hub.errors import translate_errors
from models.hub.files import sizes
from models.reference import ModelRef

MOST_MODELS = 100
"""A search lists at most this many models: the files of each are asked for."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hub. With a `problem` it can't be downloaded, or nothing of it can be served."""

    repo: str
    downloads: int = 0
    likes: int = 0
    is_gated: bool = False
    updated: str | None = None
    """The day of its latest change, as ISO 8601."""
    parameters: int | None = None
    """The number of weights, where the Hub has counted them."""
    ggufs: dict[str, int] = field(default_factory=dict)
    """The bytes of each ready GGUF by its type, the smallest first."""
    weights_bytes: int | None = None
    """The bytes of the weights that could be quantized."""
    problem: str | None = None


def search(text: str, limit: int = 10, settings: HubSettings | None = None) -> list[HubModel]:
    """Return the models whose names have the words of `text`, those most downloaded first.

    Raises HubUnreachable, AccessDenied, HubError, and InvalidReference for a text without a word.
    """
    settings = settings or HubSettings.from_environment()
    if not text.strip():
        raise InvalidReference("there is no word to search for; give a part of a model's name")
    if settings.offline:
        raise HubUnreachable(f"HF_HUB_OFFLINE is set; unset it to search {settings.place}")
    ref = ModelRef(kind="hub", repo=f"the search for {text.strip()!r}")
    with translate_errors(ref, settings.place, has_token=bool(settings.token)):
        models = [_model(entry) for entry in _list_models(text.strip(), min(limit, MOST_MODELS), settings)]
    with ThreadPoolExecutor(settings.connections) as threads:
        return list(threads.map(lambda model: _with_sizes(model, settings), models))


def _list_models(text: str, limit: int, settings: HubSettings) -> Any:
    """Return what the Hub answers. The library's own call waits half a minute for a Hub that isn't there."""
    response = get_session().get(
        f"{settings.endpoint}/api/models",
        params={
            "search": text,
            "sort": "downloads",
            "limit": limit,
            "expand": ["downloads", "gated", "lastModified", "likes", "safetensors"],
        },
        headers=build_hf_headers(token=settings.token or False),
        timeout=settings.timeout_s,
        follow_redirects=True,
    )
    hf_raise_for_status(response)
    return response.json()


def _model(entry: dict[str, Any]) -> HubModel:
    counted = (entry.get("safetensors") or {}).get("total")
    return HubModel(
        repo=str(entry["id"]),
        downloads=int(entry.get("downloads") or 0),
        likes=int(entry.get("likes") or 0),
        is_gated=bool(entry.get("gated")),
        parameters=counted if isinstance(counted, int) else None,
        updated=str(entry["lastModified"])[:10] if entry.get("lastModified") else None,
    )


def _with_sizes(model: HubModel, settings: HubSettings) -> HubModel:
    try:
        _, files = list_files(ModelRef(kind="hub", repo=model.repo), settings, to_read=False)
        ggufs, weights_bytes = sizes(model.repo, files)
    except HubUnreachable:
        raise
    except CorralError as error:
        return replace(model, problem=error.message)
    return replace(model, ggufs=ggufs, weights_bytes=weights_bytes)
