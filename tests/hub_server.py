"""A Hub on loopback: real HTTP, the Hub's protocol as huggingface_hub uses it, faults on demand.

    with HubServer() as hub:
        repo = hub.add("org/name", folder)
        repo.fault("model.safetensors", break_after=1000, times=2)
        environment = {**os.environ, **hub.environment(tmp_path)}  # for a process: HF_ENDPOINT …

Large (LFS) files are redirected to another host name (`localhost`), as the Hub does to its CDN; a token that
arrives there is an error: see `leaked_tokens`. Xet is not offered. What is asked for is in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".model", ".pt", ".h5", ".msgpack")
_BLOCK_BYTES = 1 << 16


class HubFile(NamedTuple):
    """A file at a commit; hashes are of the true bytes, whatever a fault makes of them."""

    path: Path
    size_bytes: int
    sha256: str
    blob_id: str
    is_lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.blob_id


@dataclass
class Fault:
    """What goes wrong with a file, for the next `times` requests of its bytes (None: always)."""

    break_after: int | None = None
    """Close the connection after so many bytes."""
    corrupt: bool = False
    """Change a byte in the middle."""
    status: int | None = None
    """Answer with this status instead, and `headers`."""
    headers: dict[str, str] = field(default_factory=dict)
    ignore_range: bool = False
    """Send the whole file when a part is asked for."""
    missing: bool = False
    """Say that there is no such file, though it is listed."""
    bytes_per_s: float | None = None
    stall: bool = False
    """Send half and then nothing, with the connection open."""
    times: int | None = None


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Repo:
    """A repository: commits with files, branches and tags that name them, and its access rules."""

    name: str
    gated: bool = False
    private: bool = False
    readers: set[str] = field(default_factory=set)
    """Tokens that may read, where it is gated or private."""
    commits: dict[str, dict[str, HubFile]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    status: int | None = None
    """Answer the listing with this status, `status_times` times (None: always)."""
    status_times: int | None = None
    extra_siblings: list[str] = field(default_factory=list)
    """File names to list besides, with invented sizes."""
    downloads: int = 0
    parameters: int | None = None
    """The number of weights, as the Hub tells it of safetensors."""

    @property
    def commit(self) -> str:
        return self.refs["main"]

    def push(self, folder: Path, *refs: str) -> str:
        """A new commit with all of `folder`'s files; `main`, or `refs`, name it. Returns the commit."""
        files = {
            path.relative_to(folder).as_posix(): _hub_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        names = "".join(f"{name}\0{file.sha256}\0" for name, file in files.items())
        commit = hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        for ref in refs or ("main",):
            self.refs[ref] = commit
        return commit

    def fault(self, path: str, **what: Any) -> Fault:
        """Make the bytes of `path` go wrong; see `Fault`."""
        self.faults[path] = Fault(**what)
        return self.faults[path]

    def mend(self) -> None:
        """No faults any more."""
        self.faults.clear()
        self.status = None

    def may_read(self, token: str | None) -> bool:
        return token is not None and token in self.readers

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, tag or (part of a) commit."""
        if revision in self.refs:
            return self.refs[revision]
        whole = [c for c in self.commits if len(revision) >= 7 and c.startswith(revision)]
        return whole[0] if len(whole) == 1 else None

    def take_fault(self, path: str) -> Fault:
        """The fault of this request, if there is one left."""
        fault = self.faults.get(path)
        if fault is None or fault.times == 0:
            return Fault()
        if fault.times is not None:
            fault.times -= 1
        return fault

    def take_status(self) -> int | None:
        if self.status is None or self.status_times == 0:
            return None
        if self.status_times is not None:
            self.status_times -= 1
        return self.status


class HubServer:
    """Serves until the end of the `with` block. Add repositories before or while."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.users: dict[str, str] = {}
        """Valid tokens and whose they are; with none, every token is taken as valid."""
        self.requests: list[Request] = []
        self.sent: list[Request] = []
        self.leaked_tokens: list[str] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, name: str, folder: Path, *, gated: bool = False, private: bool = False) -> Repo:
        """Serve `folder` as the repository `name`."""
        self.repos[name] = repo = Repo(name, gated=gated, private=private)
        repo.push(folder)
        return repo

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that make a process use this Hub, with its own cache and store under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "CORRAL_HOME": str(home / "corral"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def downloads(self, path: str) -> list[Request]:
        """The requests in answer to which bytes of a file were sent."""
        return [request for request in self.sent if request.path.endswith(f"/{path}")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    hub: HubServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        authorization = self.headers.get("Authorization", "")
        token = authorization.removeprefix("Bearer ") or None
        hub = self.server.hub
        self._request = Request(self.command, path, self.headers.get("Range"), token)
        hub.requests.append(self._request)
        if path.startswith("/cdn/"):
            if token:
                hub.leaked_tokens.append(token)
            self._cdn(path)
            return
        if token and hub.users and token not in hub.users:
            self._refuse(401, "", "Invalid credentials in Authorization header")
            return
        if path == "/api/whoami-v2":
            self._whoami(token)
            return
        if path == "/api/models":
            self._search(query, token)
            return
        match = re.fullmatch(
            r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)(?P<rest>/(?:revision|tree|auth-check).*)?", path
        )
        if match:
            self._api(match["repo"], match["rest"] or "", query, token)
            return
        match = re.fullmatch(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", path)
        if match:
            self._resolve(match["repo"], match["revision"], match["file"], token)
            return
        self._refuse(404, "", "Not Found")

    # --- the API

    def _whoami(self, token: str | None) -> None:
        user = self.server.hub.users.get(token or "")
        if user is None:
            self._refuse(401, "", "Invalid username or password.")
        else:
            self._json({"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}})

    def _search(self, query: dict[str, list[str]], token: str | None) -> None:
        """Repositories whose names have every word, in the order of `sort`, and only what is in `expand`."""
        words = query.get("search", [""])[0].lower().split()
        repos = [
            repo
            for repo in self.server.hub.repos.values()
            if (not repo.private or repo.may_read(token)) and all(word in repo.name.lower() for word in words)
        ]
        if query.get("sort") == ["downloads"]:
            repos.sort(key=lambda repo: -repo.downloads)
        wanted = {"_id", "id", "modelId", *query.get("expand", ())}
        infos = [
            _info(repo, repo.commit, blobs=False) for repo in repos[: int(query.get("limit", ["100"])[0])]
        ]
        self._json([{key: value for key, value in info.items() if key in wanted} for info in infos])

    def _api(self, name: str, rest: str, query: dict[str, list[str]], token: str | None) -> None:
        repo = self._readable_repo(name, token)
        if repo is None:
            return
        if rest == "/auth-check":
            if repo.gated and not repo.may_read(token):
                self._refuse_gated(repo, token)
            else:
                self._json({})
            return
        status = repo.take_status()
        if status is not None:
            self._refuse(status, "", "Something went wrong")
            return
        kind, _, tail = rest.lstrip("/").partition("/")
        revision, _, folder = (tail if kind == "tree" else tail + "/").partition("/")
        commit = repo.resolve(unquote(revision) or "main")
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}", commit=None)
        elif kind == "tree":
            self._json(_tree(repo.commits[commit], folder), commit=commit)
        else:
            self._json(_info(repo, commit, blobs="blobs" in query), commit=commit)

    def _readable_repo(self, name: str, token: str | None) -> Repo | None:
        """The repository, if the token may know of it; else the refusal has been sent."""
        repo = self.server.hub.repos.get(name)
        if repo is not None and (not repo.private or repo.may_read(token)):
            return repo
        if token:
            self._refuse(404, "RepoNotFound", "Repository not found")
        else:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        return None

    # --- files

    def _resolve(self, name: str, revision: str, path: str, token: str | None) -> None:
        repo = self._readable_repo(name, token)
        if repo is None:
            return
        if repo.gated and not repo.may_read(token):
            self._refuse_gated(repo, token)
            return
        commit = repo.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        file = repo.commits[commit].get(path)
        if file is None or (path in repo.faults and repo.faults[path].missing):
            self._refuse(404, "EntryNotFound", "Entry not found", commit=commit)
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.is_lfs:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size_bytes)}
            location = f"http://localhost:{self.server.hub.port}/cdn/{name}/{commit}/{path}"
            self._empty(302, {**headers, "Location": location})
        else:
            self._bytes(repo, path, file, headers)

    def _cdn(self, path: str) -> None:
        match = re.fullmatch(r"/cdn/(?P<repo>.+)/(?P<commit>[0-9a-f]{40})/(?P<file>.+)", path)
        repo = self.server.hub.repos.get(match["repo"]) if match else None
        if match is None or repo is None:
            self._empty(404, {})
            return
        file = repo.commits[match["commit"]][match["file"]]
        self._bytes(repo, match["file"], file, {"ETag": f'"{file.sha256[:32]}"', "Accept-Ranges": "bytes"})

    def _bytes(self, repo: Repo, path: str, file: HubFile, headers: dict[str, str]) -> None:
        if self.command == "HEAD":
            self._empty(200, {**headers, "Content-Length": str(file.size_bytes)})
            return
        self.server.hub.sent.append(self._request)
        fault = repo.take_fault(path)
        if fault.status is not None:
            self._empty(fault.status, fault.headers)
            return
        start, stop = 0, file.size_bytes
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        partial = asked is not None and not fault.ignore_range
        if asked is not None and partial:
            start, stop = int(asked[1]), min(int(asked[2] or stop) + bool(asked[2]), stop)
            if start >= file.size_bytes:
                self._empty(416, {"Content-Range": f"bytes */{file.size_bytes}"})
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size_bytes}"
        self.send_response(206 if partial else 200)
        for key, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        self._send(file, start, stop, fault)

    def _send(self, file: HubFile, start: int, stop: int, fault: Fault) -> None:
        closing = self.server.hub.closing
        end = stop if fault.break_after is None else min(start + fault.break_after, stop)
        if fault.stall:
            end = (start + file.size_bytes) // 2
        with file.path.open("rb") as source:
            source.seek(start)
            position = start
            while position < end and not closing.is_set():
                block = bytearray(source.read(min(_BLOCK_BYTES, end - position)))
                middle = file.size_bytes // 2
                if fault.corrupt and position <= middle < position + len(block):
                    block[middle - position] ^= 0xFF
                self.wfile.write(block)
                position += len(block)
                if fault.bytes_per_s is not None:
                    time.sleep(len(block) / fault.bytes_per_s)
        if fault.stall:
            closing.wait(60)
        if position < stop:
            self.close_connection = True

    # --- answers

    def _json(self, content: Any, commit: str | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse_gated(self, repo: Repo, token: str | None) -> None:
        message = f"Access to model {repo.name} is restricted and you are not in the authorized list."
        self._refuse(403 if token else 401, "GatedRepo", message)

    def _refuse(self, status: int, code: str, message: str, commit: str | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(key, value)
        self.end_headers()


def _info(repo: Repo, commit: str, *, blobs: bool) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for name, file in repo.commits[commit].items():
        sibling: dict[str, Any] = {"rfilename": name}
        if blobs:
            sibling |= {"size": file.size_bytes, "blobId": file.blob_id}
            if file.is_lfs:
                sibling["lfs"] = {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": 134}
        siblings.append(sibling)
    siblings.extend({"rfilename": name, "size": 1, "blobId": "0" * 40} for name in repo.extra_siblings)
    return {
        "_id": commit[:24],
        "id": repo.name,
        "modelId": repo.name,
        "author": repo.name.partition("/")[0],
        "sha": commit,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": repo.downloads,
        **({} if repo.parameters is None else {"safetensors": _counted(repo.parameters)}),
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    }


def _counted(n_weights: int) -> dict[str, Any]:
    return {"parameters": {"BF16": n_weights}, "total": n_weights}


def _tree(files: dict[str, HubFile], folder: str) -> list[dict[str, Any]]:
    """Every file at or under `folder`, as with `recursive=True`."""
    entries = []
    for name, file in files.items():
        if folder and not name.startswith(f"{folder}/"):
            continue
        entry: dict[str, Any] = {
            "type": "file",
            "oid": file.blob_id,
            "size": file.size_bytes,
            "path": name,
        }
        if file.is_lfs:
            entry["lfs"] = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": 134}
        entries.append(entry)
    return entries


def _hub_file(path: Path) -> HubFile:
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            sha256.update(block)
            blob.update(block)
    is_lfs = path.suffix in LFS_SUFFIXES or size > 10 << 20
    return HubFile(path, size, sha256.hexdigest(), blob.hexdigest(), is_lfs)
