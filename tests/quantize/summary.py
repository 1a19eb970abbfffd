"""A GGUF file as comparable data, read by the gguf package rather than by us."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.gguf_reader import QuickReader

DIGEST = 16  # hex digits


def summary(path: Path) -> dict[str, Any]:
    """`metadata`: key → [types, value]; `tensors`: name → [type, ne, sha256]. Long values as a hash."""
    reader = QuickReader(path)
    metadata: dict[str, Any] = {}
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        metadata[name] = [[kind.name for kind in field.types], _short(field.contents())]
    tensors = {
        tensor.name: [
            tensor.tensor_type.name,
            [int(n) for n in tensor.shape],
            hashlib.sha256(tensor.data.tobytes()).hexdigest()[:DIGEST],
        ]
        for tensor in reader.tensors
    }
    return {"metadata": metadata, "tensors": tensors}


def _short(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= 200:
        return json.loads(text)
    return (
        f"{type(value).__name__} of {len(value)}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:DIGEST]}"
    )
