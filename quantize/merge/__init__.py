"""Checkpoints made of others: adapters added to their base, and merges by a recipe.

LoraSource is a checkpoint with PEFT adapters, MergeSource several checkpoints merged by a recipe. Both are a
`TensorSource` around others and compute only the requested rows, in f32; the bytes don't depend on how a
tensor is cut into blocks. What needs a whole tensor (a norm, a threshold) is computed once, in chunks.
`composed_checkpoint` makes a Checkpoint of either, which is quantized, or written as safetensors.

adapter_folder.py       A PEFT adapter's folder: the tensors of a base that it changes, and the changes.
borrowed_output.py      `BorrowedOutput`: a head that drafts, and the output matrix of its model among its own
                        tensors.
chunks.py               Whole tensors in bounded memory: chunks, the same for every reader, and values
                        computed once.
composed_checkpoint.py  A Checkpoint made of others, which is planned, quantized or written like any other.
config.py               The config.json of a merge: the donor's, with as many layers as the result has.
locate.py               Locations of models and adapters by their names: folders on this disk, downloaded if
                        need be.
lora.py                 A checkpoint with PEFT adapters added to it, as a TensorSource.
low_rank.py             Rows of a low-rank change: B·A of PEFT's LoRA, and the weight that DoRA makes of it.
merge_plan.py           The plan of a merge: each tensor of the result with its operands and parameters; no
                        weight is read.
methods.py              The merge methods: parameters, and formulas on rows in f32. W₀ is the base, δᵢ = Wᵢ -
                        W₀.
output_matrix.py        A model's embedding and output matrix: their names among its tensors, and whether they
                        are tied.
parameters.py           Parameters of a recipe: one value, one per layer (a gradient), or by the tensor's name
                        (a filter).
recipe.py               A merge recipe: mergekit's YAML, read strictly. Every key has an effect or is refused.
source.py               Several checkpoints merged into one, as a TensorSource.
sparsify.py             The thinning out of a delta: its largest numbers stay (TIES), or a random part (DARE).
write.py                Writing of a checkpoint as safetensors, streamed: shards, index, config.json and the
                        small files.
"""
