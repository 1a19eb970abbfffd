"""Making GGUF files: checkpoints are read, mapped, planned, encoded, written, checked and measured.

control.py      The control of a long job: its caller's callbacks and cancel event, passed down in one object.
adapter/        PEFT adapters: their configuration, and their conversion to GGUF adapters.
allocation/     The allocation of types for a size that the user wants: each tensor's, so that the least is
                lost.
architectures/  The model families, and what tells which one a checkpoint or a file is of.
calibration/    Rounding that knows the other columns: by whole second moments, errors are made up for.
checkpoint/     Checkpoints on disk or on the Hub: named tensors, whatever their files and their encoding.
evaluate/       The loss of a file: perplexity, KL divergence and agreement with a baseline, size and speed.
gguf/           The parts of a GGUF file that need no tensor: header, general metadata, size label.
imatrix/        Importance matrices: computed from a text, read from files, and looked up by tensor.
job/            The jobs that programs call: from a reference to published files, with their origin and card.
kernels/        Compiled encoders of our own: the same bytes as ggml, sooner.
merge/          Checkpoints made of others: adapters added to their base, and merges by a recipe.
moments/        Second moments of what a model's weights meet: collected from a text, and read from their
                files.
plan/           Plans of quantizations: every tensor, its type and its place in every output, before a byte is
                read.
run/            Running a plan: tensors are read, encoded and written in parallel, resumable and within
                memory.
vocabulary/     Vocabularies of GGUF files, from tokenizer files: tokens, merges, special tokens, templates.
"""
