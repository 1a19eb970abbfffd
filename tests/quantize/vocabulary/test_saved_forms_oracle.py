"""What transformers reads out of the table of saved forms is what `data/saved_forms.json` holds.

CORRAL_WRITE_GOLDEN=1 first writes the file anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.quantize.vocabulary.saved_forms import GOLDEN, SAVED_FORMS

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


def as_transformers_reads(directory: Path) -> dict[str, Any]:
    """Return added tokens by id, ids that end an answer, and templates by name."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(directory))
    try:
        generation = GenerationConfig.from_pretrained(str(directory))
    except OSError:
        generation = GenerationConfig.from_pretrained(
            str(directory), config_file_name="config.json", _from_model_config=True
        )
    stops = generation.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    special = set(tokenizer.all_special_tokens)
    decoder = tokenizer.added_tokens_decoder.items()
    added = {i: (token.content, token.special or token.content in special) for i, token in decoder}
    templates = tokenizer.chat_template
    templates = templates if isinstance(templates, dict) else {"default": templates} if templates else {}
    return {
        "added": sorted([i, list(token)] for i, token in added.items()),
        "n_tokens": len(tokenizer),
        "stops": sorted({i for i in (*stops, tokenizer.eos_token_id) if i is not None}),
        "eos": tokenizer.eos_token_id,
        "templates": templates,
    }


def test_transformers_still_reads_the_forms_so(tmp_path: Path) -> None:
    found = {form.name: as_transformers_reads(form.write(tmp_path / form.name)) for form in SAVED_FORMS}
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
