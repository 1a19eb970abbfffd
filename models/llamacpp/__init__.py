"""The only code that touches llama.cpp's native library: one llama.cpp object per file.

Importing this package or any of its modules loads no native code; the first call does (`library.load`).
Callers are worker processes, the encoder of `quantize`, and probing children; never the API process,
because a failed assertion in llama.cpp ends the process it runs in.

batch.py             The tokens, or the embeddings, of one decode (llama_batch), filled through numpy.
candidates.py        CandidateBuffer: candidates of rows of logits in llama.cpp's layout
                     (llama_token_data_array).
context.py           `Context`: a model at work, with its KV cache, decoding and logits (llama_context).
deep_stack.py        `call_on_stack`: a call on a thread with a stack of the size that it needs.
device_top_k.py      `DeviceTopK`: the k largest logits of a row, found on the device that computes it.
dry_samplers.py      `DrySamplers`: llama.cpp's DRY samplers of one vocabulary, each made once and copied from
                     then on.
errors.py            Translation of llama.cpp's statuses and logged lines into `models.errors`.
eval_callback.py     `MatmulObserver`: looks on while llama.cpp multiplies weights with activations
                     (`cb_eval`).
fill_tokens.py       `FillTokens`: the special tokens with which a model fills in the middle of a text.
hidden_states.py     `HiddenStates`: vectors inside a model that a decode leaves beside its logits, for heads
                     that draft.
kernel_attention.py  `Attention`: an attention to try with the kernels' library, as its C interface takes it.
kernel_library.py    `KernelLibrary`: the C interface of `libcorral_kernels.so`, our matrix kernels beside
                     llama.cpp.
kv_cache.py          The KV cache's types and size, checked before llama.cpp allocates it.
library.py           The loading of llama.cpp: its version, its log, its devices; everything native starts at
                     `load`.
library_file.py      A check of a shared library's file before it is mapped: that it is whole, and for this
                     machine.
lora.py              LoRA adapters of a loaded model (llama_adapter_lora), and which of them a context
                     applies.
model.py             `Model`: a loaded GGUF file, with weights, metadata and vocabulary (llama_model).
projector.py         `Projector`: a model's eyes (a GGUF, `mmproj`), through llama.cpp's libmtmd: pixels to
                     embeddings.
remote_layers.py     `RemoteLayers`: the devices of other machines that get a model's layers, and their
                     shares.
row_ends.py          The embedding that ends each row of an image in Pixtral, which llama.cpp may leave
                     undefined.
rpc.py               llama.cpp's RPC back end: servers that compute a part of a model, and the other end, such
                     a server.
sampler.py           SamplerChain: llama.cpp's chain of samplers (llama_sampler), which picks a token from
                     logits.
sequence_state.py    The form of a saved sequence: llama.cpp's bytes, made independent of the number of KV
                     streams. Pure.
sequences.py         `Sequences`: the memory of a context, KV cache or recurrent states, to forget, copy and
                     save.
spm_cuts.py          `SPMCuts`: cuts inside ordinary text for SentencePiece vocabularies, with the tokens of
                     the whole.
tensor_placement.py  `kept_on_cpu`: llama.cpp's overrides for tensors that don't go where their layer goes.
text_cuts.py         `TextCuts`: the places where a text can be cut so that its parts have the tokens of the
                     whole.
thread_cores.py      `ThreadCores`: a core of its own for each thread that computes.
token_trie.py        `open_token_trie`: a vocabulary as llguidance reads it, for grammars that tokens must
                     follow.
vocab.py             `Vocab`: a model's vocabulary, text to tokens and back (llama_vocab).
quantization/        llama.cpp's quantization: type rules, encoding and decoding of tensor rows.
"""
