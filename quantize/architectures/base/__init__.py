"""The parts of families: a base class for each shape of model, rules and transforms.

A family derives from the first of these that fits:

    LlamaLike      Llama's shape and tensor names; what differs is stated as data
    Decoder        another decoder with rotary positions; it lists its tensors
    GPTLike        a decoder of GPT-2's generation: sizes under changing names, q, k and v in one matrix
    Encoder        an encoder of BERT's kind
    Architecture   anything else, such as T5

A variant derives from its family: Mixtral from Llama, Gemma 3 from Gemma 2. Mixtures of experts add the rules
of `moe`, sliding windows the keys of `sliding_window`.

architecture.py        The contract of a model family: hyper-parameters, metadata and a rule for every tensor,
                       as data.
config.py              Access to config.json by typed getters whose errors name the field; absent and null are
                       two things.
decoder.py             Decoders with rotary positions: config.json's usual names, llama.cpp's keys, rules of a
                       layer.
delta_net.py           Gated delta nets, Qwen's from 3-Next on: layers of linear attention between those that
                       attend.
encoder.py             Encoders of BERT's kind: sizes, keys, labels, pooling, the rules of their embeddings.
further_layers.py      Layers that predict further tokens (MTP), which some families' files keep as their last
                       blocks.
gpt_like.py            Decoders of GPT-2's generation: sizes under changing names, layer norms, q, k and v in
                       one matrix.
hybrid.py              Models whose layers are of several kinds: those that attend, and those that keep a
                       state instead.
llama_like.py          Decoders of Llama's shape: norm, attention, norm, gated feed-forward, under Llama's
                       tensor names.
moe.py                 Keys and tensor rules of mixtures of experts, which their families share.
passthrough.py         Transforms of tensors that are ggml's blocks already: in a GGUF file, or in MXFP4 or
                       NVFP4.
picture_transforms.py  Transforms that projectors need: of convolutions over pictures, and of a token's
                       embedding.
projector.py           The contract of a projector, with which a model sees: metadata and rules for tensors,
                       as data.
rope.py                Rotary position embeddings: config.json's two spellings to GGUF keys, Llama 3's
                       frequency factors.
rules.py               Rules for the tensors of a GGUF file: a name, its sources, the shape and the transform
                       in between.
sentence_files.py      Sentence-transformers' files beside a checkpoint: the pooling of its vectors, and its
                       prompts.
sliding_window.py      Sliding windows in some layers, in the keys that llama.cpp's runtime reads.
state_space.py         Keys and tensor rules of state spaces (Mamba 1 and 2), which their families share.
transform.py           Transforms from a checkpoint's tensors to an output tensor's rows, described as data.
vectors_only.py        `VectorsOnly`: a decoder's layers in an embedder, which has no output matrix.
"""
