"""A model card in Markdown, for publishing: front matter, files, their origin, what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from models.gguf.reader import GGUFArray
from models.machine.fit import format_bytes
from models.store.manifest import Manifest, ManifestFile
from models.version import VERSION

CARD_NAME: Final = "README.md"
MARKER: Final = "quantized_by: Corral"

_EYES: Final = " With `{name}` beside (`--mmproj`) it sees pictures."

PLAIN_FIGURE: Final = "rounded_plainly"
"""The figure of a calibrated file that is words: the kinds of tensors that are rounded plainly in it."""

Metadata = Mapping[str, Any]


def model_card(manifest: Manifest, metadata: Metadata) -> str:
    """Return the card of the manifest's files. `metadata`: one file's, for licence, languages and tags."""
    front = yaml.safe_dump(_front(manifest, metadata), sort_keys=False, allow_unicode=True)
    name = manifest.name.rsplit("/", 1)[-1]
    parts = [
        f"---\n{front}---\n\n# {name} GGUF\n\n{_lead(manifest, metadata)}\n",
        "## Files\n\n" + "\n".join(_table(manifest)) + "\n",
        "## Where they came from\n\n" + "\n".join(_provenance(manifest)) + "\n",
        "## Checksums (sha256)\n\n```\n" + "\n".join(_checksums(manifest)) + "\n```\n",
        _use(manifest),
    ]
    return "\n".join(parts)


def is_ours(text: str) -> bool:
    """True if Corral wrote the card: then it may be written over."""
    return MARKER in text[:4096]


def _front(manifest: Manifest, metadata: Metadata) -> dict[str, Any]:
    base = manifest.source.repo or _text(metadata, "general.base_model.0.repo_url")
    front: dict[str, Any] = {
        "base_model": base.removeprefix("https://huggingface.co/") if base else None,
        "base_model_relation": "quantized" if base else None,
        "quantized_by": f"Corral {VERSION}",
        "license": _text(metadata, "general.license"),
        "license_name": _text(metadata, "general.license.name"),
        "license_link": _text(metadata, "general.license.link"),
        "language": _texts(metadata, "general.languages"),
        "library_name": "gguf",
        "tags": list(dict.fromkeys(["gguf", *_texts(metadata, "general.tags")])),
    }
    return {key: value for key, value in front.items() if value}


def _lead(manifest: Manifest, metadata: Metadata) -> str:
    source = manifest.source
    name = source.repo or _text(metadata, "general.name") or manifest.name
    link = f"[{name}](https://huggingface.co/{name})" if source.repo else name
    facts = [f"architecture `{manifest.architecture}`"] if manifest.architecture else []
    if manifest.parameters:
        facts.append(f"{manifest.parameters:,} parameters")
    if manifest.context_length:
        facts.append(f"context {manifest.context_length:,}")
    return f"{link} as GGUF for llama.cpp" + (f": {', '.join(facts)}." if facts else ".")


def _table(manifest: Manifest) -> Iterator[str]:
    keys = dict.fromkeys(key for file in manifest.files for key in quality_of(manifest, file))
    measured = [key for key in keys if key != PLAIN_FIGURE]
    head = ["file", "type", "size", "bits per weight", *(key.replace("_", " ") for key in measured)]
    yield _line(head)
    yield _line(["---"] * len(head))
    for file in manifest.everything:
        names = [_plain_name(name) for name in file.names]
        name = names[0] if len(names) == 1 else f"{names[0]} … ({len(names)} parts)"
        bits = "" if file.bits_per_weight is None else f"{file.bits_per_weight:.2f}"
        values = quality_of(manifest, file)
        cells = [name, file.type, format_bytes(file.size_bytes), bits]
        yield _line([*cells, *(values.get(key, "") for key in measured)])


def quality_of(manifest: Manifest, file: ManifestFile) -> dict[str, str]:
    """Return the figures that were measured of a file, flat and as text."""
    measured = file.quality or (manifest.quality or {}).get(file.type) or {}
    figures: dict[str, str] = {}
    for key, value in measured.items() if isinstance(measured, dict) else ():
        if isinstance(value, float):
            figures[key] = f"{value:.4g}"
        elif isinstance(value, str | int) and not isinstance(value, bool):
            figures[key] = str(value)
    return figures


def _provenance(manifest: Manifest) -> Iterator[str]:
    source = manifest.source
    if source.repo:
        yield f"- source: {source.repo}, commit `{source.revision}`"
    elif source.revision:
        yield f"- source: local weights, `{source.revision}`"
    for name, digest in source.sha256.items():
        yield f"  - `{name}`: sha256 `{digest}`"
    yield f"- tools: {', '.join(f'{name} {number}' for name, number in manifest.tools.items())}"
    for file in manifest.everything:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in file.tensor_types.items())
        matrix = f"; importance matrix: {file.imatrix}" if file.imatrix else ""
        yield f"- {file.type}: {kinds or 'types unknown'}{matrix}{_calibration(manifest, file)}"
    yield f"- made: {manifest.created}"
    if source.recipe:
        yield f"- recipe:\n\n```yaml\n{source.recipe.rstrip()}\n```"


def _calibration(manifest: Manifest, file: ManifestFile) -> str:
    """Return in words what the file's rounding was calibrated on, and what of it was rounded plainly."""
    if not file.calibration:
        return ""
    plain = quality_of(manifest, file).get(PLAIN_FIGURE)
    but = f", but for {plain}, which lost by it on held-out text" if plain else ""
    return f"; rounded by the errors of all columns together (GPTQ), calibrated on {file.calibration}{but}"


def _use(manifest: Manifest) -> str:
    eyes = "" if manifest.projector is None else _EYES.format(name=_plain_name(manifest.projector.names[0]))
    return (
        f"## Use\n\n```\ncorral serve {manifest.name}:{manifest.files[0].type}\n```\n\n"
        f"Or load the files in anything that reads GGUF; of a model in parts, load the first.{eyes}\n"
    )


def _checksums(manifest: Manifest) -> Iterator[str]:
    for file in manifest.everything:
        for name, digest in zip(file.names, file.sha256, strict=True):
            yield f"{digest}  {_plain_name(name)}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain_name(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _text(metadata: Metadata, key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) else None


def _texts(metadata: Metadata, key: str) -> list[str]:
    value = metadata.get(key)
    if isinstance(value, GGUFArray) and value.element_type == "str":
        return [item.decode("utf-8", "replace") for item in value.strings()]
    return []
