"""Checkpoints made of others: adapters added to their base, and merges by a recipe.

LoraSource is a checkpoint with PEFT adapters, MergeSource several checkpoints merged by a recipe. Both are a
`TensorSource` around others and compute only the requested rows, in f32; the bytes don't depend on how a
tensor is cut into blocks. What needs a whole tensor (a norm, a threshold) is computed once, in chunks.
`composed_checkpoint` makes a Checkpoint of either, which is quantized, or written as safetensors.
"""
