"""The parts of families: a base class for each shape of model, rules and transforms.

A family derives from the first of these that fits:

    LlamaLike      Llama's shape and tensor names; what differs is stated as data
    Decoder        another decoder with rotary positions; it lists its tensors
    GPTLike        a decoder of GPT-2's generation: sizes under changing names, q, k and v in one matrix
    Encoder        an encoder of BERT's kind
    Architecture   anything else, such as T5

A variant derives from its family: Mixtral from Llama, Gemma 3 from Gemma 2. Mixtures of experts add the rules
of `moe`, sliding windows the keys of `sliding_window`.
"""
