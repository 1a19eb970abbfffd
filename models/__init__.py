"""Models as files: their names, store, download, GGUF metadata, memory, and the llama.cpp layer.

adapter_reference.py   `AdapterRef`: a user's name for a LoRA adapter, `PATH[=NAME][@SCALE]`, and the only
                       parser of it.
closing.py             `Closing`: a base for what is closed at the end of its `with` block.
errors.py              Every error a user can meet, as one tree; each boundary translates into it once.
expert_tensors.py      The names of a mixture's experts among a model's tensors, and patterns that find them.
                       Pure.
parse_duration.py      `parse_duration`: times as people and Ollama's clients write them: `5m`, `1h30m`,
                       `300`, 0, -1.
parse_size.py          `parse_size`: sizes as people write them, such as `2GiB`, `500MB`, `1.5 GiB` or `4096`.
paths.py               `Paths`: the folders that Corral uses, made once from the environment. Creates nothing.
pooling.py             `Pooling`: the way in which a model makes a vector or scores of a text.
quantization_types.py  Quantization types: one table with a row per type, from which every list of types is
                       made. Pure.
reference.py           `ModelRef`: a user's name for a model, and the only parser of it.
secrets.py             Secrets of the environment: read once, cleaned, and taken out of everything that is
                       printed.
version.py             Corral's version, for the package metadata and the command line.
weight_files.py        The rule that chooses a checkpoint's weights among the files of a folder or a
                       repository; pure.
demo/                  The embedded demo model: a small Llama in Hugging Face layout (fp16), with the code
                       that trained it.
doctor/                The checks of `corral doctor`: what this machine can do, with facts and fixes.
gguf/                  GGUF files as data: header, metadata and tensor table, read and checked without
                       llama.cpp.
hub/                   The Hugging Face Hub: plans of downloads, transfers into its cache, and its errors.
imports/               Models that other programs have on this disk, taken into the store without a copy.
llamacpp/              The only code that touches llama.cpp's native library: one llama.cpp object per file.
machine/               This machine: its processor, memory and devices, and the fit of a model.
rpc/                   Servers of llama.cpp's RPC protocol, which compute a part of a model that is split over
                       machines.
store/                 The store of quantized models under CORRAL_HOME, with its manifests, locks and staging.
"""

from __future__ import annotations
