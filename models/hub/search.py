"""`search`: the Hub's models by a word in their names, with the sizes of what could be downloaded of each."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from huggingface_hub import HfApi, ModelInfo

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
        infos = list(_list_models(text.strip(), min(limit, MOST_MODELS), settings))
    with ThreadPoolExecutor(settings.connections) as threads:
        return list(threads.map(lambda info: _sized(info, settings), infos))


def _list_models(text: str, limit: int, settings: HubSettings) -> Iterable[ModelInfo]:
    api = HfApi(endpoint=settings.endpoint, token=settings.token or False)
    return api.list_models(
        search=text,
        sort="downloads",
        limit=limit,
        expand=["downloads", "gated", "lastModified", "likes"],
    )


def _sized(info: ModelInfo, settings: HubSettings) -> HubModel:
    ggufs: dict[str, int] = {}
    weights_bytes = problem = None
    try:
        _, files = list_files(ModelRef(kind="hub", repo=info.id), settings, to_read=False)
        ggufs, weights_bytes = sizes(info.id, files)
    except HubUnreachable:
        raise
    except CorralError as error:
        problem = error.message
    updated = info.last_modified
    return HubModel(
        repo=info.id,
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        is_gated=bool(info.gated),
        updated=None if updated is None else updated.date().isoformat(),
        ggufs=ggufs,
        weights_bytes=weights_bytes,
        problem=problem,
    )
