"""Folders as Ollama and LM Studio lay them out, with tiny models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

LAYER = "application/vnd.ollama.image."


class OllamaFolder:
    """A folder of Ollama's models, which grows by `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)
        (folder / "manifests").mkdir()

    def blob(self, data: bytes) -> str:
        """Write a blob; return its digest as manifests have it."""
        digest = hashlib.sha256(data).hexdigest()
        self.path(digest).write_bytes(data)
        return f"sha256:{digest}"

    def path(self, digest: str) -> Path:
        return self.folder / "blobs" / f"sha256-{digest.removeprefix('sha256:')}"

    def layer(self, kind: str, content: bytes | object) -> dict[str, Any]:
        """Return a layer of bytes, or of JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return {"mediaType": f"{LAYER}{kind}", "digest": self.blob(data), "size": len(data)}

    def add(self, title: str, *layers: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
        """Write the manifest of `model:tag`, `owner/model:tag` or `host/owner/model:tag`; return its path."""
        base, _, tag = title.rpartition(":")
        place = base.split("/")
        place = ["registry.ollama.ai", "library"][: 3 - len(place)] + place
        path = self.folder.joinpath("manifests", *place, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self.layer("config", {"model_format": "gguf", "file_type": "F32"} | (config or {})),
            "layers": list(layers),
        }
        path.write_text(json.dumps(manifest))
        return path
