"""`ServeOptions`: the settings of one served model, each under one name from its flag to the worker.

A field is a flag, a key of the settings file, a variable of the environment (`server.config` reads them) and
a field of the first frame to a worker (`server.ipc.model_spec`). This is the only list of them. Workers
import it, so it is a plain dataclass: pydantic reads the bounds in `Annotated`, msgspec ignores them.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from models.pooling import PoolingName
from server.sampling_defaults import SamplingDefaults
from server.setting import Bounds, Positive, setting

KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


@dataclass(frozen=True, kw_only=True)
class ServeOptions(SamplingDefaults):
    """The settings of one served model. `None` means "not set": chosen for the model or the machine."""

    ctx: Positive | None = setting(
        None,
        "Most tokens of one request; not set: what the model was trained for, as far as memory allows.",
    )
    parallel: Annotated[int, Bounds(ge=1, le=256)] = setting(
        8, "Requests that one model computes at the same time."
    )
    gpu_layers: Literal["auto"] | Annotated[int, Bounds(ge=0)] = setting(
        "auto", "Layers on the GPU; auto: as many as fit its free memory."
    )
    n_cpu_moe: Literal["auto"] | Annotated[int, Bounds(ge=0)] = setting(
        "auto",
        "Layers of a mixture, from the first, whose experts stay on the CPU while all else is on the GPU;"
        " auto: as few as let the layers fit its free memory.",
    )
    cpu_moe: bool = setting(False, "Experts of all layers stay on the CPU.")
    network_is_private: bool = setting(
        False,
        "Let --split name servers of other machines, unencrypted: only your machines are in the network.",
    )
    split: tuple[str, ...] = setting(
        (),
        "Servers of other machines (corral cluster share) that compute layers of a model too large for this"
        " one: HOST:PORT, commas between or repeated; loopback or a tunnel's end, unless"
        " --network-is-private.",
    )
    pooling: PoolingName | None = setting(
        None,
        "Serve vectors of texts, made of their tokens' in this way, not answers; rank: a classifier's scores;"
        " not set: as the file says.",
    )
    prompt_format: str | None = setting(
        None, "Prompt format of every model; not set: told from its metadata and name."
    )
    chat_template: str | None = setting(
        None,
        "Chat template of every model in place of its own: Jinja, or one of llama.cpp's names (chatml, …).",
    )
    chat_template_file: str | None = setting(None, "A file with the chat template of every model.")
    reasoning: Literal["auto", "on", "off"] = setting(
        "auto", "Thoughts of chats that don't say; auto: as the model's template has it."
    )
    context_shift: bool = setting(
        False,
        "Let an answer that has a limit of its own go on where the context is full, without its oldest part,"
        " unless the request says otherwise.",
    )
    threads: Positive | None = setting(None, "Threads for decoding; not set: one per physical core.")
    threads_batch: Positive | None = setting(None, "Threads for prompts; not set: as for decoding.")
    n_batch: Positive = setting(2048, "Most tokens in one call of llama_decode.")
    n_ubatch: Positive = setting(512, "Most tokens computed at once within such a call.")
    prefill_chunk_tokens: Positive = setting(
        512, "Most tokens of waiting prompts in a step in which other requests decode."
    )
    gap_ms: Annotated[float, Bounds(gt=0)] = setting(
        200.0,
        "Most milliseconds between two tokens of a request while others' prompts are computed,"
        " as far as the model is fast enough.",
    )
    loop_guard: Annotated[int, Bounds(ge=0, le=1 << 16)] = setting(
        0,
        "End an answer whose last N tokens are one passage, eight times or more; 256 is a good number, 0"
        " is never.",
    )
    speculate: Literal["auto", "off", "ngram"] = setting(
        "auto",
        "Guess the next tokens and check them in one step, where measured steps say that it pays; ngram: from"
        " what the request repeats; auto: the same while a few requests generate, unless logits stay on a"
        " GPU, and by the model's own further layer (MTP), if its file has one.",
    )
    draft: str | None = setting(
        None,
        "A small model of the same vocabulary that guesses the next tokens of those served, or a head of one"
        " (EAGLE-3).",
    )
    mmproj: str | None = setting(
        None,
        "A projector (GGUF) with which the models served from the start see images; not set: the one that the"
        " store keeps with a model.",
    )
    no_mmproj: bool = setting(False, "Serve models without their projectors: they see no images.")
    image_hosts: str | None = setting(
        None,
        "Hosts from which images are fetched that a request names by address, with commas between; * in a"
        " name is anything, and alone any host. Not set: none.",
    )
    draft_max: Annotated[int, Bounds(ge=1, le=64)] = setting(31, "Most tokens guessed at a time.")
    kv_unified: bool = setting(
        False, "One KV cache that all sequences always share, not only while one of them is long."
    )
    swa_full: bool = setting(
        False,
        "Layers with a sliding window keep the keys and values of all tokens, also where memory is short for"
        " it; else they keep there only those of windows, but beside a projector.",
    )
    flash_attn: Literal["auto", "on", "off"] = setting("auto", "Flash attention.")
    type_k: KVType = setting("f16", "Type of the K cache.")
    type_v: KVType = setting("f16", "Type of the V cache; a quantized one needs flash attention.")
    prefix_cache_gib: Annotated[float, Bounds(ge=0)] = setting(
        4.0,
        "GiB of disk for the beginnings of prompts, kept over restarts; 0: off. Never more than a"
        " quarter of what is free.",
    )
    checkpoint_gib: Annotated[float, Bounds(ge=0)] = setting(
        1.0,
        "GiB of memory for states to which a model with recurrent layers or a sliding window goes back, where"
        " a prompt isn't all of the last one and its answer; 0: none. Never more than a quarter of what is"
        " free beside the model.",
    )
    checkpoint_tokens: Annotated[int, Bounds(ge=16)] = setting(
        1024,
        "A model with recurrent layers keeps such a state at the end of each turn, and every so many tokens.",
    )
    use_mmap: bool = setting(True, "Map the model's file instead of reading it.")
    use_mlock: bool = setting(False, "Keep the model from being swapped out.")
    use_extra_bufts: bool = setting(
        True, "Let llama.cpp repack weights for this CPU (AMX, AVX); off if a worker crashes there."
    )
    kernels: Literal["auto", "on", "off"] = setting(
        "auto",
        "Corral's own matrix kernels on a CPU; auto: where they are built for it and pass their check at"
        " the start, on: or else the model isn't loaded.",
    )
    prompt_side: Literal["auto", "on", "off"] = setting(
        "auto",
        "On a CPU, compute prompts on weights as the file has them and tokens on repacked ones,"
        " at the price of more memory; auto: where that is faster and fits, not beside Corral's matrix"
        " kernels.",
    )
    device_sampling: Literal["auto", "on", "off"] = setting(
        "auto",
        "Leave logits on the device that computes them and fetch only each row's largest, where a"
        " request's sampling needs no more; auto: on a GPU, where that is faster.",
    )
    queue_size: Annotated[int, Bounds(ge=0)] = setting(
        256, "Requests that may wait per model; beyond it: 429."
    )


SERVE_SETTINGS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(ServeOptions))
"""The names of the settings of one served model, in the order of their flags."""
