"""Pico checkpoints of published families with the real models' special tokens and chat templates."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pico import write_json, write_safetensors
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import TOKENIZERS, read_golden, tensor_values

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
N_CTX = 8192


@dataclass(frozen=True, slots=True)
class TemplateModel:
    """A family, its model's template, and the tokens that both the template and the answers spell.

    `call` and `result` are what the template makes of a call of the weather and its result, `thought` of the
    thought in front of the call.
    """

    family: str
    template: str
    special: tuple[str, ...]
    end: str
    thought: str
    call: str
    result: str
    plain: tuple[str, ...] = ()
    """The added tokens that are no special ones."""

    @property
    def template_path(self) -> Path:
        assert SOURCES is not None
        return Path(SOURCES, "models", "templates", f"{self.template}.jinja")

    def write(self, folder: Path) -> None:
        """Write the checkpoint into a new `folder`."""
        folder.mkdir()
        family = next(family for family in ALL_FAMILIES if family.name == self.family)
        TOKENIZERS[family.tokenizer](folder)
        if family.edit is not None:
            family.edit(folder)
        ids = self._add_tokens(folder)
        n_tokens = max(ids.values()) + 1
        golden = read_golden(family)
        config = golden["config"]
        text = config.get("text_config", config)
        n_before = text["vocab_size"]
        text |= {"vocab_size": n_tokens, "max_position_embeddings": N_CTX, "eos_token_id": ids[self.end]}
        if "vocab_size_per_layer_input" in text:
            text["vocab_size_per_layer_input"] = n_tokens
        write_json(folder / "config.json", config)
        values = {
            name: tensor_values(
                name,
                tuple(n_tokens if n == n_before else n for n in shape),
                dtype,
                family.embedding_scale,
            )
            for name, (dtype, shape) in golden["tensors"].items()
        }
        write_safetensors(folder / "model.safetensors", values)

    def _add_tokens(self, folder: Path) -> dict[str, int]:
        """Add the tokens to the folder's tokenizer, and return the ids of all that were added to it."""
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        added: list[dict[str, Any]] = tokenizer["added_tokens"]
        known = {token["content"]: token for token in added}
        n_tokens = max(*tokenizer["model"]["vocab"].values(), *(token["id"] for token in added)) + 1
        for content in (*self.special, *self.plain):
            token = known.get(content)
            if token is None:
                token = {"id": n_tokens, "content": content, "single_word": False, "lstrip": False}
                token |= {"rstrip": False, "normalized": False}
                n_tokens += 1
                added.append(token)
                known[content] = token
            token["special"] = content in self.special
        settings["eos_token"] = self.end
        settings["chat_template"] = self.template_path.read_text(encoding="utf-8")
        if "added_tokens_decoder" in settings:
            settings["added_tokens_decoder"] = {
                str(token["id"]): {key: value for key, value in token.items() if key != "id"}
                for token in added
            }
        write_json(folder / "tokenizer.json", tokenizer)
        write_json(folder / "tokenizer_config.json", settings)
        ids: dict[str, int] = {token["content"]: token["id"] for token in added}
        ids.update(tokenizer["model"]["vocab"])
        return ids


GPT_OSS = TemplateModel(
    family="gpt-oss",
    template="openai-gpt-oss-120b",
    special=(
        *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>"),
        *("<|start|>", "<|end|>", "<|message|>", "<|call|>"),
    ),
    end="<|return|>",
    thought="<|start|>assistant<|channel|>analysis<|message|>{}<|end|>",
    call="<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>"
    '{{"city": "{city}", "days": {days}}}<|call|>',
    result='<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"31 degrees"<|end|>',
)
QWEN3_5_MOE = TemplateModel(
    family="qwen3.5-moe-vision",
    template="Qwen3.5-4B",
    special=(
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
        *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    ),
    plain=("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    end="<|im_end|>",
    thought="<|im_start|>assistant\n<think>\n{}\n</think>\n\n",
    call="<tool_call>\n<function=get_weather>\n<parameter=city>\n{city}\n</parameter>\n"
    "<parameter=days>\n{days}\n</parameter>\n</function>\n</tool_call><|im_end|>\n",
    result="<|im_start|>user\n<tool_response>\n31 degrees\n</tool_response><|im_end|>\n",
)
GEMMA_4 = TemplateModel(
    family="gemma4-moe",
    template="google-gemma-4-31B-it",
    special=(
        *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
        *('<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>"),
        *("<|image>", "<|image|>", "<image|>"),
    ),
    end="<turn|>",
    thought="<|channel>thought\n{}\n<channel|>",
    call='<|tool_call>call:get_weather{{city:<|"|>{city}<|"|>,days:{days}}}<tool_call|>',
    result='<|tool_response>response:get_weather{value:<|"|>31 degrees<|"|>}<tool_response|>',
)
MODELS = {"gpt-oss": GPT_OSS, "qwen3.5-moe": QWEN3_5_MOE, "gemma4": GEMMA_4}
