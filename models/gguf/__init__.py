"""GGUF files as data: header, metadata and tensor table, read and checked without llama.cpp.

adapter_info.py        `read_adapter_info`: a LoRA adapter's GGUF file, read and checked against its base
                       model.
architecture_lists.py  The names of architectures of which llama.cpp's assertions hold, kind by kind. Pure
                       data.
architecture_rules.py  Header values that llama.cpp asserts on, architecture by architecture, when it builds a
                       graph.
checks.py              Checks for values in a well-formed GGUF file on which llama.cpp would abort or crash.
                       Pure.
draft_head.py          Heads that draft for a model: files of their own (EAGLE-3), and layers of the model's
                       file (MTP).
head_rules.py          Headers of heads that draft (EAGLE-3) which llama.cpp doesn't survive. Pure.
hyperparameters.py     `Hyperparameters`: a header's values under one prefix, and those for keys left out.
                       Pure.
info.py                `read_gguf_info`: what a GGUF file holds, or the reason why it must not be loaded.
layer_rules.py         Headers that lack a kind of layers without which llama.cpp ends the process. Pure.
pooling.py             `pooling_of`: the way in which a model makes a vector or scores of a text, as its
                       header says. Pure.
projector.py           Projectors (`mmproj`): GGUF files beside a model's, which turn pictures or sound into
                       embeddings.
projector_rules.py     Checks for projectors on which llama.cpp would abort, crash or compute nonsense. Pure.
projector_tensors.py   The tensors that llama.cpp's projectors compute with, by kind: names and shapes. Pure.
reader.py              The structure of one GGUF file: header, key-value pairs, tensor table.
window_layers.py       `window_layers`: which layers' attention has a sliding window, as llama.cpp reads a
                       header. Pure.
"""

from __future__ import annotations
