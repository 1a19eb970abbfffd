"""docs/architectures.md, made from the families and their golden files."""

from __future__ import annotations

from pathlib import Path

from quantize.architectures.projector_registry import PROJECTORS
from quantize.architectures.refused import REFUSED
from quantize.architectures.registry import ARCHITECTURES
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden
from tests.quantize.families.family import Family
from tests.quantize.projectors.checkpoints import EXCEPTIONS as PROJECTOR_EXCEPTIONS
from tests.quantize.projectors.checkpoints import SIGHTS

PAGE = Path(__file__).parents[3] / "docs" / "architectures.md"
INTRODUCTION = """# Architectures

What can be quantized, and how it was compared. For each row a tiny checkpoint with random weights is
converted by Corral and by llama.cpp's own converter: the F16, BF16 and F32 files have the same metadata and
the same tensors (names, shapes, types, bytes), but for the exceptions named below. llama.cpp then computes
with our F32 file what _the reference_ computes with the checkpoint: the logits after a prompt and 8 greedy
tokens, of an encoder its vectors or scores. Where transformers has no such model, the reference is llama.cpp
with the converter's file.

Tokenizer files are read as transformers reads them, where the converter does otherwise
(`tests/quantize/vocabulary` compares some forty saved forms with it):

- Every token that a file names as the end of an answer is in the file: the tokenizer's eos, the lists of
  generation_config.json or config.json, the chat template's end of turn. The converter drops lists, and
  llama.cpp then takes id 11 of a byte-level vocabulary, mostly a comma. `eot` and `eom` take what isn't
  eos; where that isn't enough, `tokenizer.ggml.eos_token_ids` lists all, which `corral serve` reads. A
  model that names none gets an eos that no answer has.
- chat_template.jinja and additional_chat_templates/ come before tokenizer_config.json, and null hides
  nothing; the converter takes the other order, and no template where there is no tokenizer_config.json.
- Added tokens of a SentencePiece model are those of tokenizer.json, too, which transformers 5 writes
  alone; added_tokens.json counts only where tokenizer_config.json has no added_tokens_decoder, and a
  piece that it lists again keeps its kind. Tokens that look like control tokens but aren't marked so are
  control tokens, as for the converter.
- A text has one id, the one that transformers' tokenizers give it, and an added token beyond the
  embedding is left out; both are said before the pass. Of the converter's files llama.cpp refuses such
  ones, or aborts.
- The special tokens' names are looked up in the whole vocabulary, not only among the added tokens of a
  tokenizer.json.

`tests/quantize/families` makes this page and holds it true; [CONTRIBUTING.md](../CONTRIBUTING.md) tells how
to add a family. Not here are architectures that llama.cpp doesn't know, such as OPT: nothing could run a file
of theirs. Of models that see or hear, too, the text model is quantized, and of those listed under
"Projectors" what sees.
"""
NOT_YET = {
    "CogVLMForCausalLM, XverseForCausalLM": "llama.cpp or its converter computes something else for them",
    "DeepseekV4ForCausalLM, Glm5NextForConditionalGeneration,"
    " GraniteSwitchForCausalLM, KimiK3ForConditionalGeneration, Qwen4ExpForCausalLM": "not done yet",
    "HYV4ForCausalLM": "llama.cpp computes something else than transformers",
    "MiMoV2ForCausalLM of MiMo V2.5": "queries, keys and values are one matrix, cut for several devices",
    "PLMForCausalLM": "llama.cpp ends its process when it serves two sequences of it",
    "PlamoForCausalLM, Plamo2ForCausalLM, Plamo3ForCausalLM, Rwkv6ForCausalLM, Rwkv7ForCausalLM": "their"
    " vocabularies aren't read here",
}
"""The names of llama.cpp's converter that are neither quantized nor refused, with reasons."""
QUANTIZED = """## Quantized checkpoints

GPTQ, AWQ, FP8, NVFP4, MXFP4, compressed-tensors, bitsandbytes (4 and 8 bits), HQQ and BitNet are read as the
weights they mean, in F32. Where llama.cpp's converter reads a form, `tests/quantize/checkpoint` compares with
it. We differ from it on purpose in these:

- Weights in NVFP4 stay as they are, bit by bit, in a file of the type NVFP4, as far as llama.cpp's graph
  takes their second scales ([quantization.md](quantization.md#nvfp4)). The converter keeps them in every
  file, also where the graph leaves the scales out. It drops signs of scales, and keeps scales that aren't
  numbers, which mean 0 to ggml; here both are errors.
- Scales of inputs (modelopt's `pre_quant_scale`) are folded into the weights, and GPTQ and AWQ packed for
  Marlin are unpacked; the converter reads neither.
- Experts in MXFP4 stay as they are, bit by bit, in a file of the type MXFP4_MOE; in files of other types
  they have that type. The converter keeps them in every file.
- Zeros of GPTQ (before `gptq_v2`) are stored less one, and the one was subtracted from whole 32-bit words. So
  it is added to whole words, with carry, as GPTQModel does when it loads them. The converter adds it to each
  zero by itself: a zero of 0 becomes 16, and its neighbour is one off. It doesn't read 3 bits.
- BitNet's scale divides, or with the linear_class autobitlinear multiplies, as in transformers; the converter
  divides always.
- Settings that differ from module to module (`dynamic`, several `config_groups`) are followed; the converter
  has one for all, or refuses.
- Settings in files of their own (`quantize_config.json`, `quant_config.json`, `hf_quant_config.json`) are
  read, too.
- Settings left behind beside whole weights have no effect, biases of zeros for which a family has no place
  are left out, and so are scales of activations and of the KV cache in every form.
"""

READING = """## Configurations and names

A field of config.json that is absent, null, under another name or at another place means what transformers'
configuration class makes of it (`test_configuration_oracle.py` in `tests/quantize/architectures` goes
through every field of every family); null where no class takes it is refused. Tensors are found under the
names by which transformers' loader finds them: with or without the base's prefix (`model.`, `transformer.`,
`bert.` …), nested in `language_model.` where a text model was taken out of one that sees, a tied pair by
either half, and a mixture's experts one by one or in two tensors of three axes. Where that differs from
llama.cpp's converter, or from transformers:

- Llama 3's scaling of the rotation is refused for families in which llama.cpp has no place for its factors;
  the converter leaves it out of the file, which then computes something else.
- A DeepSeek-V3 that doesn't say its `scoring_func` (transformers doesn't write it) weighs experts by the
  sigmoid, as its class does; the converter writes nothing, and llama.cpp takes the softmax.
- A tied model of which only the output matrix was saved has it as its embedding; the converter writes a
  file without one, which doesn't load.
- `original_max_position_embeddings` of a Phi-3 is found in `rope_parameters`, too, where the class has its
  default instead; `attention_factor` there counts before the formula.
- Gemma 3's `rope_scaling` may name its kind by the older `type`, which transformers 5 overlooks.
- Each head of a Chameleon has its own norms of queries and keys, as transformers has them; the converter
  gives all heads the first one's, and breaks off where key-value heads are fewer.
- A Refact's norms subtract the mean, which llama.cpp's `refact` leaves out, so that answers differ a little.
- The matrices of a BitNet are written as the ternary numbers that its class computes with. A packed one has
  them already; the converter rounds these once more, to another scale.
- gpt-oss's published files say `truncate` false for YaRN's ramp, which llama.cpp rounds to whole numbers
  as other models do; it has no key for it.
- A DeepSeek whose `n_routed_experts` is null has no experts, and `n_shared_experts` none that are always
  used: the makers' own class says so, transformers' refuses it.
"""
COLUMNS = (
    "Tested as",
    "`architectures` in config.json",
    "In GGUF",
    "Tokenizer",
    "Tensors",
    "Reference",
    "Exceptions",
)


def page() -> str:
    rows = sorted((_row(family) for family in ALL_FAMILIES), key=lambda row: row[0])
    lines = ["| " + " | ".join(cells) + " |" for cells in (COLUMNS, ("---",) * len(COLUMNS), *rows)]
    notes = sorted({(key, why) for family in ALL_FAMILIES for key, why in family.exceptions.items()})
    exceptions = [f"- `{key}`: {why}" for key, why in notes] or ["None."]
    return "\n".join(
        [
            INTRODUCTION,
            *_names(),
            "## Comparison",
            "",
            *lines,
            "",
            "## Exceptions",
            "",
            *exceptions,
            "",
            *_projectors(),
            READING,
            QUANTIZED,
        ]
    )


def _names() -> list[str]:
    """Return the names of config.json that are known, by file, and those that aren't, with reasons."""
    by_file: dict[str, list[str]] = {}
    for family in ARCHITECTURES:
        by_file.setdefault(family.__module__.rsplit(".", 1)[1], []).extend(family.huggingface_names)
    known = [name for names in by_file.values() for name in names]
    kinds: dict[str, list[str]] = {}
    for name, kind in REFUSED.items():
        kinds.setdefault(kind, []).append(name)
    return [
        f"## {len(known)} names",
        "",
        f"The `architectures` of config.json that can be quantized, by the {len(by_file)} files of",
        "`quantize/architectures/families/`:",
        "",
        *(f"- {file}: {_listed(names)}" for file, names in sorted(by_file.items())),
        "",
        *_sizes(len(known), sorted(by_file)),
        "",
        "Refused by what they are:",
        "",
        *(f"- {kind}: {_listed(names)}" for kind, names in kinds.items()),
        "",
        "Not here:",
        "",
        *(f"- {names}: {why}" for names, why in NOT_YET.items()),
        "",
    ]


def _sizes(n_names: int, files: list[str]) -> list[str]:
    """Return the lines of the families' files, and of what they share, now and while there were few.

    In round numbers: not every change of a family is one of the page.
    """
    folder = PAGE.parents[1] / "quantize" / "architectures"
    own = sum(_n_lines(folder / "families" / f"{file}.py") for file in files)
    shared = sum(map(_n_lines, (folder / "base").glob("*.py")))
    each = f"{round(own / len(files), -1):.0f} each, {own / n_names:.0f} for each name"
    return [
        f"Those files have {round(own, -3):,} lines, about {each}; what they share",
        f"(`base/`) has {round(shared, -2):,}. While there were 58 names, 30 files had 3,127, 104 each,",
        "54 for each name; what they shared had 1,703.",
    ]


def _n_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _projectors() -> list[str]:
    """Return the section on what sees: names by file, and the differences from the converter."""
    by_file: dict[str, list[str]] = {}
    for name, found in PROJECTORS.items():
        by_file.setdefault(found.__module__.rsplit(".", 1)[1], []).append(name)
    keys = sorted({key for sight in SIGHTS for key in sight.exceptions})
    return [
        "## Projectors",
        "",
        f"The {len(PROJECTORS)} names of models of which what sees (`mmproj`) is made, too, by the files of",
        "`quantize/architectures/projectors/`. `tests/quantize/projectors` compares",
        f"{len(SIGHTS)} tiny ones with what llama.cpp's converter makes of them in F16, BF16, F32 and Q8_0:",
        "same metadata, same tensors, same bytes.",
        "",
        *(f"- {file}: {_listed(names)}" for file, names in sorted(by_file.items())),
        "",
        "Where we differ on purpose:",
        "",
        *(f"- `{key}`: {PROJECTOR_EXCEPTIONS[key]}" for key in keys),
        "",
    ]


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(family: Family) -> tuple[str, ...]:
    golden = read_golden(family)
    converted = golden["converter"]["all"]
    return (
        family.name,
        f"`{family.architecture}`",
        f"`{converted['metadata']['general.architecture'][1]}`",
        family.tokenizer,
        str(len(golden["converter"]["F32"]["tensors"]) + len(converted["tensors"])),
        golden["decoded"]["by"],
        ", ".join(f"`{key}`" for key in family.exceptions) or "none",
    )
