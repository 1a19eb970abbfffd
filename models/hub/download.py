"""Downloads from the Hub: `plan` chooses the files, `run` fetches what the cache lacks.

`plan` lists what the Hub has and chooses (`files`, `plan`); `run` fetches several files at once (`fetch`,
`transfer`). With `errors` and `search` this is the only importer of huggingface_hub, which gives sessions,
headers and error classes. It can't resume a file that an earlier process began, so the bytes are fetched
here, into its cache's layout (`cache`). All of the Hub's errors are translated once, in `errors`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, ModelInfo, get_session, get_token, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not in __all__

from models.errors import ConfigError, CorralError, HubError, HubUnreachable, InvalidReference
from models.hub.cache import RepoCache, VerifiedNotes
from models.hub.errors import translate_errors
from models.hub.fetch import Broken, Fetcher, Retries, Transfer
from models.hub.files import RemoteFile
from models.hub.plan import DownloadPlan, PlannedFile, make_plan, plan_from_cache, require_free
from models.hub.ranges import RangeReader
from models.hub.transfer import DownloadProgress, transfer_all
from models.paths import Paths
from models.reference import ModelRef
from models.secrets import clean_address, clean_secret, without_user
from models.store.atomic_write import disk_errors, is_unwritable

__all__ = [
    "DownloadPlan",
    "DownloadProgress",
    "HubSettings",
    "PlannedFile",
    "list_files",
    "plan",
    "ranges",
    "run",
]

_log = logging.getLogger("corral.hub")
_TRUE = ("1", "ON", "YES", "TRUE")
_DEFAULT_ENDPOINT = "https://huggingface.co"
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_LISTING_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The Hub's address and the manner of reaching it. `token` and `endpoint` appear in no repr."""

    endpoint: str = field(default=_DEFAULT_ENDPOINT, repr=False)
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    connections: int = 4
    timeout_s: float = 15.0
    retries: Retries = field(default_factory=Retries)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> HubSettings:
        """Read HF_ENDPOINT, HF_TOKEN (else the token that the Hub's own tools stored) and HF_HUB_OFFLINE.

        Raises ConfigError for an endpoint that is no URL, and for a token that can't be sent.
        """
        return cls(
            endpoint=clean_address(env.get("HF_ENDPOINT", ""), "HF_ENDPOINT") or _DEFAULT_ENDPOINT,
            token=_token(env),
            offline=any(
                env.get(key, "").strip().upper() in _TRUE
                for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
            ),
        )

    @property
    def place(self) -> str:
        """The address for messages: without a user and a password."""
        return without_user(self.endpoint)


def _token(env: Mapping[str, str]) -> str | None:
    """Return the token of the environment, else the stored one. Raises ConfigError, without the value."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        token = clean_secret(env.get(name, ""), name)
        if token is not None:
            return token
    try:
        stored = get_token()
    except UnicodeDecodeError:
        raise ConfigError("the Hub's token file is no text; log in again, or set HF_TOKEN") from None
    return clean_secret(stored or "", "the token that is stored for the Hub")


def plan(
    ref: ModelRef,
    include: str | Sequence[str] | None = None,
    *,
    paths: Paths | None = None,
    settings: HubSettings | None = None,
    room: bool = True,
) -> DownloadPlan:
    """Choose the files of `ref`, or those matching the globs `include`, and see which are here already.

    With `room` all of them must fit on the disk; weights that are streamed needn't. An index of shards is
    fetched at once where the choice depends on it. Without the Hub (offline mode, no connection) what is
    complete in the cache is planned. Raises
    ModelNotFound, AccessDenied, HubUnreachable, HubError, DiskFull, InvalidReference (`ref` of another kind),
    StoreError (a folder that can't be written).
    """
    if ref.kind != "hub" or ref.repo is None:
        raise InvalidReference(f"{ref} is no Hub repository, and only those are downloaded; give org/name")
    paths, settings = paths or Paths.from_environment(), settings or HubSettings.from_environment()
    globs = (include,) if isinstance(include, str) else tuple(include or ())
    cache = RepoCache(paths.hf_cache, ref.repo)
    if settings.offline:
        return plan_from_cache(ref, globs, cache, paths, "HF_HUB_OFFLINE is set")
    try:
        commit, files = list_files(ref, settings)
    except HubUnreachable as error:
        try:
            found = plan_from_cache(ref, globs, cache, paths, "there is no connection")
        except CorralError:
            raise error from None
        _log.warning("%s; using the copy in the cache", error.message)
        return found
    with disk_errors("note what the Hub lists", paths.verified_dir):
        VerifiedNotes(paths.verified_dir).save_listing(ref.repo, commit, files)
    made = make_plan(ref, globs, cache, commit, files, online=True)
    if made.unread_index is not None:
        index = PlannedFile(made.unread_index, 0)
        run(replace(made, files=(index,)), paths=paths, settings=settings)
        made = make_plan(ref, globs, cache, commit, files, online=True)
    if room:
        require_free(made, paths.hf_cache)
    return made


def run(
    plan: DownloadPlan,
    on_progress: Callable[[DownloadProgress], None] | None = None,
    cancel: threading.Event | None = None,
    *,
    paths: Paths | None = None,
    settings: HubSettings | None = None,
) -> Path:
    """Fetch and verify the files; return the snapshot folder.

    `on_progress` is called here, about 10 times a second. What arrived before an error, a KeyboardInterrupt
    or `cancel` is kept and resumed next time. Raises the errors of `plan`, DownloadCorrupt, and HubError when
    cancelled.
    """
    paths, settings = paths or Paths.from_environment(), settings or HubSettings.from_environment()
    cache, notes = RepoCache(paths.hf_cache, plan.repo), VerifiedNotes(paths.verified_dir)
    stop = threading.Event()
    fetcher = Fetcher(cache, notes, plan.commit, _Source(plan, settings).open, settings.retries, stop)
    transfer_all(
        [Transfer(file.file, file.present_bytes) for file in plan.files],
        fetcher.fetch,
        connections=settings.connections,
        stop=stop,
        cancelled=cancel.is_set if cancel is not None else lambda: False,
        on_progress=on_progress,
    )
    with disk_errors("note the revision", paths.hf_cache, "HF_HOME"):
        _note_revision(cache, plan)
    return plan.snapshot


def _note_revision(cache: RepoCache, plan: DownloadPlan) -> None:
    """Remember the commit of the revision; in a cache that can't be written the one before stays."""
    try:
        cache.write_ref(plan.revision, plan.commit)
    except OSError as error:
        if not is_unwritable(error):
            raise
        _log.debug("%s can't be written: %s isn't noted as %s", cache.folder, plan.commit, plan.revision)


def ranges(plan: DownloadPlan, *, settings: HubSettings | None = None) -> RangeReader:
    """Return a reader of parts of the plan's files, all of the plan's commit."""
    settings = settings or HubSettings.from_environment()
    return RangeReader(_Source(plan, settings).open, settings.retries)


def list_files(ref: ModelRef, settings: HubSettings, *, to_read: bool = True) -> tuple[str, list[RemoteFile]]:
    """Return the commit that `ref` means and its files, which are `to_read`: open to us, if it is gated.

    Raises ModelNotFound, AccessDenied, HubUnreachable, HubError.
    """
    assert ref.repo is not None
    repo, api = ref.repo, HfApi(endpoint=settings.endpoint, token=settings.token or False)

    def ask() -> ModelInfo:
        info = api.model_info(repo, revision=ref.revision, files_metadata=True, timeout=settings.timeout_s)
        if info.gated and to_read:
            try:
                api.auth_check(repo)
            except RepositoryNotFoundError:  # GatedRepoError is one
                raise
            except HfHubHTTPError:  # a mirror without this route; a refusal comes with the files
                pass
        return info

    with translate_errors(ref, settings.place, has_token=bool(settings.token)):
        info = _retry(ask, settings.retries)
        if not info.sha or info.siblings is None:
            raise ValueError("its answer has no commit")
        files = []
        for sibling in info.siblings:
            size = sibling.lfs.size if sibling.lfs else sibling.size
            sha256 = sibling.lfs.sha256 if sibling.lfs else None
            if size is None or not (sha256 or sibling.blob_id):
                raise ValueError(f"its answer has no size or hash of {sibling.rfilename}")
            files.append(RemoteFile(sibling.rfilename, size, sha256, sibling.blob_id))
        return info.sha, files


class _Source:
    """The Hub as the source of a plan's files, which it opens as streams."""

    def __init__(self, plan: DownloadPlan, settings: HubSettings) -> None:
        self._plan = plan
        self._settings = settings
        self._ref = ModelRef(kind="hub", repo=plan.repo, revision=plan.revision)
        self._headers = {**build_hf_headers(token=settings.token or False), "Accept-Encoding": "identity"}

    @contextmanager
    def open(self, file: RemoteFile, offset: int, end: int | None = None) -> Iterator[_HubStream]:
        """Open as `fetch.OpenStream` says; with `end`, as `ranges.OpenRange` says.

        A redirect to another host carries no token (httpx2 drops it).
        """
        plan, settings = self._plan, self._settings
        if settings.offline or not plan.online:
            raise HubUnreachable(
                f"{file.path} of {plan.repo} is not right in the cache, and there is no connection;"
                f" connect, unset HF_HUB_OFFLINE, and pull again"
            )
        url = hf_hub_url(plan.repo, file.path, revision=plan.commit, endpoint=settings.endpoint)
        part = f"bytes={offset}-" if end is None else f"bytes={offset}-{end - 1}"
        headers = {**self._headers, "Range": part} if offset or end is not None else self._headers
        with translate_errors(self._ref, settings.place, has_token=bool(settings.token)), _breakable():
            request = get_session().stream(
                "GET", url, headers=headers, timeout=settings.timeout_s, follow_redirects=True
            )
            with request as response:
                if response.status_code == 416:
                    raise Broken("the Hub can't resume")
                hf_raise_for_status(response)
                if end is not None:
                    self._require_same(file, response)
                yield _HubStream(response, offset if response.status_code == 206 else 0)

    def _require_same(self, file: RemoteFile, response: httpx2.Response) -> None:
        """Raise HubError unless the part is one of the file that was listed."""
        answers = [one.headers for one in (*response.history, response)]
        commits = {headers["X-Repo-Commit"] for headers in answers if "X-Repo-Commit" in headers}
        etags = {headers["X-Linked-Etag"].strip('"') for headers in answers if "X-Linked-Etag" in headers}
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code != 206:
            raise HubError(
                f"{self._settings.place} sends whole files only, and --stream needs parts; leave it out"
            )
        if commits - {self._plan.commit} or etags - {file.etag} or size != str(file.size_bytes):
            raise HubError(
                f"{file.path} of {self._plan.repo} isn't what was listed any more (size, hash, commit); "
                "run the same command again"
            )


class _HubStream:
    """A response's body as a `fetch.Stream`."""

    def __init__(self, response: httpx2.Response, offset: int) -> None:
        self._response = response
        self.offset = offset

    def chunks(self) -> Iterator[bytes]:
        with _breakable():
            yield from self._response.iter_raw()

    def abort(self) -> None:
        network = self._response.extensions.get("network_stream")
        connection = None if network is None else network.get_extra_info("socket")
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _breakable() -> Iterator[None]:
    """Turn failures that may pass into Broken."""
    try:
        yield
    except HfHubHTTPError as error:
        status, wait = error.response.status_code, error.response.headers.get("Retry-After", "")
        if status not in _PASSING_STATUS:
            raise
        raise Broken(f"the Hub answered {status}", float(wait) if wait.isdecimal() else None) from error
    except httpx2.TransportError as error:
        raise Broken(f"the connection broke ({type(error).__name__})") from error


def _retry(request: Callable[[], ModelInfo], retries: Retries) -> ModelInfo:
    """Make a small request, and repeat it if it fails in a way that may pass. Raises the library's errors."""
    for attempt in range(1, _LISTING_ATTEMPTS + 1):
        try:
            with _breakable():
                return request()
        except Broken as broken:
            if attempt == _LISTING_ATTEMPTS and isinstance(broken.__cause__, Exception):
                raise broken.__cause__ from None
            wait_s = retries.wait_s(attempt) if broken.retry_after_s is None else broken.retry_after_s
            time.sleep(min(wait_s, retries.longest_wait_s))
    raise AssertionError("the loop returns or raises")
