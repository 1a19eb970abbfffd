"""Turn a training checkpoint into a Hugging Face folder (fp16 safetensors), as `models/demo` is.

`python -m models.demo.training.export --work DIR --out DIR`. Each file is written under a temporary name and
renamed, the weights last.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.demo.training.model import ModelConfig

LIMIT_BYTES = 24 * 1024 * 1024


def config_json(config: ModelConfig) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _write_json(path: Path, content: object) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def export(work: Path, out: Path) -> int:
    """Write the checkpoint of `work` to `out`; the step it was taken at."""
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    tensors = {name: tensor.half().contiguous() for name, tensor in state["model"].items()}
    if sum(tensor.numel() for tensor in tensors.values()) * 2 > LIMIT_BYTES:
        raise SystemExit(f"the weights are larger than {LIMIT_BYTES:,} bytes; make the model smaller")
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "config.json", config_json(ModelConfig()))
    generation = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True, "temperature": 0.3, "top_p": 0.95}
    _write_json(out / "generation_config.json", generation)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        temporary = out / (name + ".tmp")
        shutil.copyfile(work / "tokenizer" / name, temporary)
        temporary.replace(out / name)
    temporary = out / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    temporary.replace(out / "model.safetensors")
    return int(state["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    print(f"exported step {export(options.work, options.out)} to {options.out}")


if __name__ == "__main__":
    main()
