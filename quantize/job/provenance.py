"""The provenance of a file: the keys in its own metadata, and the store's manifest.

in the GGUF       quantized_by, corral.source.revision, corral.source.sha256 (as far as the Hub has it),
                  corral.tools, the recipe of a merge, the importance matrix, the calibration
in the manifest   all that, the sha256 of local weights, types and how many tensors have them, measured loss
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from models.hub.download import DownloadPlan
from models.llamacpp.quantization.ggml_types import type_name
from models.store.manifest import Manifest, ManifestFile, Source
from models.version import VERSION
from quantize.gguf.header import Metadata, Value, string
from quantize.plan.plan import PlannedFile, QuantizationPlan
from quantize.run.writer import WrittenFile

REVISION_KEY: Final = "corral.source.revision"
SHA256_KEY: Final = "corral.source.sha256"
TOOLS_KEY: Final = "corral.tools"

_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_READ_BYTES: Final = 2**20


@cache
def tools() -> dict[str, str]:
    """Return the versions of all that decides what is written."""
    return {
        "corral": VERSION,
        "llama_cpp_python": version("llama-cpp-python"),
        "gguf": version("gguf"),
    }


def made_by(source: Source) -> Metadata:
    """Return the GGUF keys that say who made a file of what. Paths are left out: they are private."""
    keys: Metadata = {
        "general.quantized_by": string(f"Corral {VERSION}"),
        TOOLS_KEY: string(", ".join(f"{name} {number}" for name, number in tools().items())),
    }
    if source.revision is not None:
        keys[REVISION_KEY] = string(source.revision)
    if source.sha256:
        lines = [f"{digest}  {name}" for name, digest in source.sha256.items()]
        keys[SHA256_KEY] = string("\n".join(lines))
    return keys


def hub_metadata(source: Source) -> Metadata:
    """Return the GGUF keys of a model from the Hub."""
    assert source.repo is not None
    assert source.revision is not None
    return {
        "general.source.huggingface.repository": string(source.repo),
        "general.source.huggingface.commit": string(source.revision),
    }


def weight_hashes(download: DownloadPlan) -> dict[str, str]:
    """Return the sha256 of the weights, as the Hub lists them."""
    return {
        file.path: file.file.sha256
        for file in download.files
        if file.file.sha256 and file.path.endswith(_WEIGHTS)
    }


class InputHashes:
    """The sha256 of local weights, computed while the pass runs: they are in the page cache then."""

    def __init__(self, *places: Path) -> None:
        self._places = places
        self._digests: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Hash on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End early; files that aren't hashed yet are left out."""
        self._stop.set()

    def result(self) -> dict[str, str]:
        """Wait, and return digests by name; with several folders, by `folder/name`. Unreadable files are left
        out.
        """
        if self._thread is not None:
            self._thread.join()
        return dict(self._digests)

    def _run(self) -> None:
        for place in self._places:
            files = (
                [*sorted(place.iterdir()), *sorted(place.glob("*_Dense/*"))] if place.is_dir() else [place]
            )
            for path in files:
                if path.suffix in _WEIGHTS and path.is_file():
                    name = path.name if path == place else path.relative_to(place).as_posix()
                    name = name if len(self._places) == 1 else f"{place.name}/{name}"
                    with contextlib.suppress(OSError, InterruptedError):
                        self._digests[name] = self._hash(path)

    def _hash(self, path: Path) -> str:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_READ_BYTES))
        with path.open("rb", buffering=0) as file:
            while n_read := file.readinto(buffer):
                digest.update(buffer[:n_read])
                if self._stop.is_set():
                    raise InterruptedError
        return digest.hexdigest()


def manifest_of(
    name: str, source: Source, plan: QuantizationPlan, written: Sequence[WrittenFile], inputs: dict[str, str]
) -> Manifest:
    """Return the manifest that the store keeps of one pass."""
    planned = {file.type: file for file in plan.outputs}
    entries = {file.type: _manifest_file(file, planned[file.type]) for file in written}
    projector = None if plan.projector is None else entries.pop(plan.projector.type)
    return Manifest(
        name=name,
        source=msgspec.structs.replace(source, sha256=source.sha256 or inputs),
        files=tuple(entries.values()),
        projector=projector,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        tools=tools(),
        architecture=plan.architecture,
        parameters=plan.n_parameters,
        context_length=plan.context_length,
    )


def _manifest_file(file: WrittenFile, planned: PlannedFile) -> ManifestFile:
    counts = Counter(type_name(tensor.ggml_type) for tensor in planned.tensors)
    return ManifestFile(
        type=file.type,
        names=tuple(path.name for path in file.paths),
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        bits_per_weight=round(file.bits_per_weight, 4),
        tensor_count=file.tensor_count,
        tensor_types=dict(counts.most_common()),
        imatrix=_imatrix(planned.metadata),
        calibration=calibration_of(planned.metadata),
        quality=None if file.quality is None else dict(file.quality),
    )


def calibration_of(metadata: Metadata) -> str | None:
    """Return `text (tokens)` of what the file's rounding was calibrated on, as its own metadata has it."""
    text, tokens = metadata.get("corral.calibration.text"), metadata.get("corral.calibration.tokens")
    if text is None:
        return None
    return str(text.data) if tokens is None else f"{text.data} ({tokens.data:,} tokens)"


def _imatrix(metadata: Metadata) -> str | None:
    """Return `file (text)` of the importance matrix, as the file's own metadata has it."""
    file = metadata.get("quantize.imatrix.file")
    text: Value | None = metadata.get("quantize.imatrix.dataset")
    if file is None:
        return None
    return f"{file.data} ({text.data})" if text is not None else str(file.data)
