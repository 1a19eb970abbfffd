"""Encoders (BERT, RoBERTa, XLM-RoBERTa, Nomic, Jina), their classifiers and rerankers, and T5."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pico import write_json, write_safetensors
from tests.pico_encoder_tokenizers import make_roberta, write_xlm_json, write_xlm_model
from tests.quantize.families import neobert_reference
from tests.quantize.families.checkpoint import tensor_values
from tests.quantize.families.encoder_checkpoints import (
    BERT,
    GATED,
    ROBERTA,
    T5,
    XLM,
    as_in_old_checkpoints,
    jina,
    jina_reranker_v2,
    neobert,
    nomic,
    with_head,
    without_tied,
)
from tests.quantize.families.family import BPE_VOCABULARY, PICO, SPM_VOCABULARY, Family

BERT_PRE = "jina-v2-en"
LABELS = {"0": "contradiction", "1": "entailment", "2": "neutral"}
SCALED = "llama.cpp leaves out T5's division before a tied output matrix, so the last norm is divided"
POOLER = "the converter drops BERT's pooler, without which a classifier's scores are others"
LARGER = "with the pooler there are more parameters"
SPACES = "the converter takes clean_up_tokenization_spaces for it; we look at what the file does to spaces"
NAMED = "the converter needs a tokenizer.json for names, we look them up in any vocabulary"
NO_PIECES = (
    "the converter takes CamemBERT for a BERT of words' pieces; it is RoBERTa with a unigram vocabulary"
)
SIDE_BY_SIDE = (
    "each head's q, k and v are side by side in NeoBERT; the converter leaves them so, llama.cpp doesn't"
)
NO_CLASSIFIER = "llama.cpp has no classifier of EuroBERT, whose pooling this would be"
GUESSING = "the head that guesses masked tokens makes no vector; the converter keeps a part of it"
LAYER_NORMS = "ModernBERT has layer norms, whose epsilon is the other key"
OF_TOKENS = "a ColBERT's vectors are those of its tokens; the converter says nothing of it"
TOLERANCE = 2e-2  # ggml's GELU comes from a table of F16


def make(class_name: str, config_class: str, **fields: Any) -> Callable[[], Any]:
    """Return a maker of a random model with `fields` of transformers' `config_class`."""

    def model() -> Any:
        import transformers

        return getattr(transformers, class_name)(getattr(transformers, config_class)(**fields))

    return model


def sentence_transformers(mode: str, then: Callable[[Path], None] | None = None) -> Callable[[Path], None]:
    """Write the files of a sentence-transformers model that pools by `mode`, after the change `then`."""

    def edit(directory: Path) -> None:
        if then is not None:
            then(directory)
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
        write_json(directory / "modules.json", modules)
        (directory / "1_Pooling").mkdir()
        flags = {"mean_tokens": False, "cls_token": False, "lasttoken": False, mode: True}
        settings = {f"pooling_mode_{name}": value for name, value in flags.items()}
        write_json(directory / "1_Pooling" / "config.json", {"word_embedding_dimension": 256, **settings})

    return edit


def with_dense(widths: tuple[int, ...], first: int = 2) -> Callable[[Path], None]:
    """Write the files of a model with layers from each of `widths` to the next.

    It pools by the mean before them, if they aren't the `first` ones behind the model.
    """

    def edit(directory: Path) -> None:
        sentence_transformers("mean_tokens")(directory)
        if first == 1:
            shutil.rmtree(directory / "1_Pooling")
            write_json(directory / "modules.json", [{"idx": 0, "path": "", "type": "x.Transformer"}])
        modules = json.loads((directory / "modules.json").read_text(encoding="utf-8"))
        for number, (n_in, n_out) in enumerate(itertools.pairwise(widths), first):
            folder = f"{number}_Dense"
            modules.append({"idx": number, "path": folder, "type": "sentence_transformers.models.Dense"})
            (directory / folder).mkdir()
            settings: dict[str, Any] = {"in_features": n_in, "out_features": n_out, "bias": False}
            settings["activation_function"] = "torch.nn.modules.linear.Identity"
            write_json(directory / folder / "config.json", settings)
            weight = tensor_values(f"{folder}.linear.weight", (n_out, n_in), "F16")
            write_safetensors(directory / folder / "model.safetensors", {"linear.weight": weight})
        write_json(directory / "modules.json", modules)

    return edit


def nomic_null(directory: Path) -> None:
    """Set a field to null, as published files have it."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "rotary_emb_scale_base": None})


def nomic_xlm(directory: Path) -> None:
    nomic_null(directory)
    write_xlm_json(directory)


def name_tokenizer(class_name: str, then: Callable[[Path], None]) -> Callable[[Path], None]:
    """Write the tokenizer's class to tokenizer_config.json, after the change `then`."""

    def edit(directory: Path) -> None:
        then(directory)
        path = directory / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        names = {"cls": "<|endoftext|>", "sep": "<|im_end|>", "unk": "<|endoftext|>", "mask": "<|im_start|>"}
        roles = {f"{role}_token": text for role, text in names.items()}
        write_json(path, {**config, **roles, "tokenizer_class": class_name})

    return edit


def gated_t5(name: str, prefix: str) -> Family:
    """Make a model as Flan-T5 is: gated, with an output matrix of its own."""
    class_name = f"{prefix}ForConditionalGeneration"
    return Family(
        name,
        class_name,
        make(class_name, f"{prefix}Config", **GATED),
        "unigram",
        config={"decoder_start_token_id": 0, "tie_word_embeddings": False},
        tensors=with_head,
        kind="encoder-decoder",
        tolerance=TOLERANCE,
    )


REORDERED = {f"tensor blk.{layer}.attn_qkv.weight": SIDE_BY_SIDE for layer in range(2)}
MODERN = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 410,
    "max_position_embeddings": 512,
    "local_attention": 16,
    "pad_token_id": 406,
    "bos_token_id": 406,
    "cls_token_id": 406,
    "eos_token_id": 408,
    "sep_token_id": 408,
}
EURO = {key: value for key, value in MODERN.items() if not key.startswith(("local", "cls", "sep"))}
EURO |= {"num_hidden_layers": 2, "num_key_value_heads": 2}

LFM2 = PICO | BPE_VOCABULARY | {"layer_types": ["conv", "full_attention"]}
LFM2_FIELDS = {"block_ff_dim": 512, "intermediate_size": None}
GEMMA = PICO | SPM_VOCABULARY | {"num_hidden_layers": 6, "pad_token_id": 0}
GEMMA |= {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 10}

FAMILIES: tuple[Family, ...] = (
    Family(
        "lfm2-colbert",
        "Lfm2Model",
        make("Lfm2Model", "Lfm2Config", **LFM2),
        exceptions={"lfm2.pooling_type": OF_TOKENS},
        config=LFM2_FIELDS,
        edit=with_dense((256, 128), first=1),
        kind="encoder",
    ),
    Family(
        "lfm2-bidirectional",
        "Lfm2BidirectionalModel",
        make("Lfm2Model", "Lfm2Config", **LFM2),
        config=LFM2_FIELDS | {"architectures": ["Lfm2BidirectionalModel"]},
        edit=sentence_transformers("cls_token"),
        kind="encoder",
    ),
    Family(
        "embedding-gemma",
        "Gemma3TextModel",
        make("Gemma3TextModel", "Gemma3TextConfig", **GEMMA, use_bidirectional_attention=True),
        "spm",
        config={"sliding_window": 10},
        edit=with_dense((256, 512, 256)),
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "distilbert",
        "DistilBertForMaskedLM",
        make(
            "DistilBertForMaskedLM",
            "DistilBertConfig",
            dim=256,
            hidden_dim=512,
            n_layers=2,
            n_heads=4,
            vocab_size=BERT["vocab_size"],
            max_position_embeddings=512,
        ),
        "wordpiece",
        edit=sentence_transformers("mean_tokens"),
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "modern-bert",
        "ModernBertForMaskedLM",
        make("ModernBertForMaskedLM", "ModernBertConfig", **MODERN),
        tensors=lambda shapes: {name: shape for name, shape in shapes.items() if name != "decoder.bias"},
        exceptions={
            "modern-bert.attention.layer_norm_rms_epsilon": LAYER_NORMS,
            **dict.fromkeys(("tensor cls.weight", "tensor cls.norm.weight", "general.size_label"), GUESSING),
        },
        edit=sentence_transformers("cls_token"),
        config={"layer_norm_eps": 1e-5, "global_attn_every_n_layers": 3},
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "modern-bert-reranker",
        "ModernBertForSequenceClassification",
        make(
            "ModernBertForSequenceClassification",
            "ModernBertConfig",
            **MODERN,
            id2label={0: "LABEL_0"},
            classifier_pooling="mean",
            hidden_activation="silu",
        ),
        exceptions={"modern-bert.attention.layer_norm_rms_epsilon": LAYER_NORMS},
        config={"layer_norm_eps": 1e-5, "global_attn_every_n_layers": 3},
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "neobert",
        "NeoBERT",
        shapes=neobert("NeoBERT"),
        exceptions=REORDERED,
        reference=neobert_reference.record,
        tokenizer="wordpiece",
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "neobert-classifier",
        "NeoBERTForSequenceClassification",
        shapes=neobert("NeoBERTForSequenceClassification"),
        exceptions=REORDERED,
        reference=neobert_reference.record,
        tokenizer="wordpiece",
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "eurobert",
        "EuroBertModel",
        make("EuroBertModel", "EuroBertConfig", **EURO, classifier_pooling="mean"),
        exceptions={
            "eurobert.classifier.pooling_type": NO_CLASSIFIER,
            "tokenizer.ggml.mask_token_id": "an id beyond the embedding is left out",
        },
        edit=sentence_transformers("mean_tokens"),
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "bert",
        "BertModel",
        make("BertModel", "BertConfig", **BERT),
        "wordpiece",
        edit=sentence_transformers("mean_tokens"),
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "bert-masked",
        "BertForMaskedLM",
        make("BertForMaskedLM", "BertConfig", **BERT),
        "wordpiece",
        tensors=as_in_old_checkpoints,
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "bert-classifier",
        "BertForSequenceClassification",
        make("BertForSequenceClassification", "BertConfig", **BERT, id2label={0: "LABEL_0"}),
        "wordpiece",
        {"tensor cls.weight": POOLER, "tensor cls.bias": POOLER, "general.size_label": LARGER},
        kind="encoder",
        pre=BERT_PRE,
        tolerance=TOLERANCE,
    ),
    Family(
        "roberta",
        "RobertaModel",
        make("RobertaModel", "RobertaConfig", **ROBERTA),
        edit=sentence_transformers("mean_tokens", make_roberta),
        kind="encoder",
        pre="gpt-2",
        tolerance=TOLERANCE,
    ),
    Family(
        "roberta-classifier",
        "RobertaForSequenceClassification",
        make("RobertaForSequenceClassification", "RobertaConfig", **ROBERTA, id2label=LABELS),
        edit=make_roberta,
        kind="encoder",
        pre="gpt-2",
        tolerance=TOLERANCE,
    ),
    Family(
        "xlm-roberta",
        "XLMRobertaModel",
        make("XLMRobertaModel", "XLMRobertaConfig", **XLM),
        "unigram",
        {f"tokenizer.ggml.{role}_token_id": NAMED for role in ("unknown", "seperator")},
        edit=sentence_transformers("cls_token", write_xlm_model),
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "xlm-roberta-reranker",
        "XLMRobertaForSequenceClassification",
        make("XLMRobertaForSequenceClassification", "XLMRobertaConfig", **XLM, id2label={0: "LABEL_0"}),
        "unigram",
        edit=write_xlm_json,
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "jina-reranker-v2",
        "XLMRobertaForSequenceClassification",
        shapes=jina_reranker_v2,
        tokenizer="unigram",
        edit=write_xlm_json,
        kind="encoder",
        tolerance=TOLERANCE,
    ),
    Family(
        "nomic-bert",
        "NomicBertModel",
        shapes=nomic(experts=False),
        tokenizer="wordpiece",
        edit=sentence_transformers("mean_tokens", nomic_null),
        kind="encoder",
        pre=BERT_PRE,
    ),
    Family(
        "nomic-bert-moe",
        "NomicBertModel",
        shapes=nomic(experts=True),
        tokenizer="unigram",
        edit=nomic_xlm,
        kind="encoder",
    ),
    Family(
        "jina-bert",
        "JinaBertModel",
        shapes=jina("JinaBertModel"),
        tokenizer="wordpiece",
        edit=sentence_transformers("mean_tokens"),
        kind="encoder",
        pre=BERT_PRE,
    ),
    Family(
        "jina-bert-masked",
        "JinaBertForMaskedLM",
        shapes=jina("JinaBertForMaskedLM"),
        tokenizer="wordpiece",
        kind="encoder",
        pre=BERT_PRE,
    ),
    Family(
        "jina-bert-code",
        "JinaBertForMaskedLM",
        shapes=jina("JinaBertForMaskedLM", code=True),
        edit=name_tokenizer("RobertaTokenizer", make_roberta),
        kind="encoder",
        pre="gpt-2",
    ),
    Family(
        "t5",
        "T5ForConditionalGeneration",
        make("T5ForConditionalGeneration", "T5Config", **T5),
        "unigram",
        {"tensor dec.output_norm.weight": SCALED},
        config={"decoder_start_token_id": 0, "n_positions": 512},
        kind="encoder-decoder",
    ),
    gated_t5("flan-t5", "T5"),
    Family(
        "t5-encoder",
        "T5EncoderModel",
        make("T5EncoderModel", "T5Config", **T5),
        "unigram",
        tensors=without_tied("encoder.embed_tokens.weight"),
        kind="encoder",
    ),
    gated_t5("mt5", "MT5"),
    gated_t5("umt5", "UMT5"),
)
