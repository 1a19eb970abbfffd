"""The card for publishing: front matter that parses, every file with its checksum, nothing invented."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from models.store.manifest import Manifest, ManifestFile, Source
from quantize.job.model_card import is_ours, model_card


def manifest(**changes: Any) -> Manifest:
    file = ManifestFile(
        type="Q4_K_M",
        names=("publication/x.Q4_K_M-00001-of-00002.gguf", "publication/x.Q4_K_M-00002-of-00002.gguf"),
        size_bytes=5 * 2**30,
        sha256=("a" * 64, "b" * 64),
        bits_per_weight=4.8251,
        tensor_types={"Q4_K": 3, "Q6_K": 1},
        imatrix="im.gguf (text.txt)",
        quality={"perplexity": 6.123456, "nested": {"left": "out"}},
    )
    whole: dict[str, Any] = {
        "name": "org/x",
        "source": Source(kind="hub", repo="org/x", revision="c" * 40, sha256={"model.safetensors": "d" * 64}),
        "files": (file,),
        "created": "2026-01-01T00:00:00+00:00",
        "tools": {"corral": "1.2"},
        "architecture": "llama",
    }
    return Manifest(**{**whole, **changes})


def front(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_front_matter() -> None:
    card = model_card(manifest(), {"general.license": "apache-2.0"})
    found = front(card)
    assert found["base_model"] == "org/x"
    assert found["base_model_relation"] == "quantized"
    assert found["license"] == "apache-2.0"
    assert found["tags"] == ["gguf"]
    assert str(found["quantized_by"]).startswith("Corral ")
    assert is_ours(card)
    assert not is_ours("---\nlicense: mit\n---\nmine")


def test_what_is_not_known_is_left_out() -> None:
    found = front(model_card(manifest(source=Source(kind="path", revision="local-1")), {}))
    assert set(found) == {"quantized_by", "library_name", "tags"}


def test_files_sources_and_figures() -> None:
    card = model_card(manifest(), {})
    for text in (
        "a" * 64 + "  x.Q4_K_M-00001-of-00002.gguf",
        "b" * 64,
        "c" * 40,
        "`model.safetensors`: sha256 `" + "d" * 64,
        "(2 parts) | Q4_K_M | 5.0 GiB | 4.83 | 6.123 |",
        "3 × Q4_K, 1 × Q6_K; importance matrix: im.gguf (text.txt)",
        "corral serve org/x:Q4_K_M",
    ):
        assert text in card
    assert "left" not in card


def test_calibrated_rounding_is_told_in_words() -> None:
    (file,) = manifest().files
    quality = {"held_out_kl_divergence": 0.0123, "rounded_plainly": "attn_v.weight"}
    calibrated = msgspec.structs.replace(file, calibration="mix-1 (9,216 tokens)", quality=quality)
    card = model_card(manifest(files=(calibrated,)), {})
    assert "calibrated on mix-1 (9,216 tokens), but for attn_v.weight, which lost by it" in card
    assert "| held out kl divergence |" in card
    assert "rounded plainly |" not in card
    assert "calibrated" not in model_card(manifest(), {})


def test_a_recipe_is_quoted() -> None:
    source = Source(kind="path", revision="local-1", recipe="merge_method: slerp\n")
    assert "```yaml\nmerge_method: slerp\n```" in model_card(manifest(source=source), {})
