"""Sources that compose others: adapters added to their base, checkpoints merged by a recipe.

    LoraSource   a checkpoint and PEFT adapters             lora.py, low_rank.py, adapter_folder.py
    MergeSource  several checkpoints and a YAML recipe      recipe.py → layout.py → source.py, methods.py

Both are a `TensorSource` around others and compute only the rows they are asked for, in f32; the bytes don't
depend on how a tensor is cut into blocks. What needs a whole tensor (a norm, a threshold) is computed once,
in chunks (`chunks.py`). `composed.py` makes a Checkpoint of either, which `pipeline.make_plan` takes, or
`write.py` writes as safetensors.
"""
