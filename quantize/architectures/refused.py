"""Models that are refused, by their `architectures` entries, with what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DRAFT = "a draft that guesses tokens for another model, and answers nothing by itself"
_SPEECH = "a model of speech or sound; Corral serves text"
_OCR = "a model that reads text from images; Corral serves text"
_DIFFUSION = "a diffusion model that writes a text's tokens in any order; Corral serves models that write on"
_RELU = "a classifier with a ReLU before its last matrix, where llama.cpp computes a hyperbolic tangent"
_IMAGES = "the part of a model that sees, without a model of text"

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    _DRAFT: (
        "DFlash2DraftModel",
        "DFlashDraftModel",
        "DSparkDraftModel",
        "DSparkSpeculator",
        "DeepseekV4DSparkModel",
        "Gemma4AssistantForCausalLM",
        "Gemma4DSparkModel",
        "Gemma4UnifiedAssistantForCausalLM",
        "Lfm2DSparkDraftModel",
        "LingDSparkModel",
        "MuseGlimmerAssistantModel",
        "Qwen3DSparkModel",
    ),
    _SPEECH: (
        "GlmasrModel",
        "GraniteSpeechForConditionalGeneration",
        "GraniteSpeechPlusForConditionalGeneration",
        "Lfm25AudioTokenizer",
        "Lfm2AudioForConditionalGeneration",
        "MERaLiON2ForConditionalGeneration",
        "PocketTTSModel",
        "Qwen3ASRForConditionalGeneration",
        "Qwen3TTSForConditionalGeneration",
        "UltravoxModel",
        "WavTokenizerDec",
    ),
    _OCR: (
        "DeepseekOCR2ForCausalLM",
        "DeepseekOCRForCausalLM",
        "DotsOCRForCausalLM",
        "GlmOcrForConditionalGeneration",
        "LightOnOCRForConditionalGeneration",
        "PaddleOCRVLForConditionalGeneration",
        "PaddleOCRVisionModel",
        "UnlimitedOCRForCausalLM",
    ),
    _DIFFUSION: ("DreamModel", "LLaDAMoEModel", "LLaDAMoEModelLM", "LLaDAModelLM", "RND1"),
    _RELU: ("DistilBertForSequenceClassification",),
    _IMAGES: ("InternVisionModel", "RADIOModel"),
}

REFUSED: Final[Mapping[str, str]] = {name: kind for kind, names in _KINDS.items() for name in names}
"""The `architectures` entries that llama.cpp's converter knows and Corral refuses, each with what it is."""

UNKNOWN_TO_LLAMA_CPP: Final[Mapping[str, str]] = {"OPTForCausalLM": "OPT", "OPTModel": "OPT"}
"""The `architectures` entries of well-known models that llama.cpp can't run, and the models' names."""
