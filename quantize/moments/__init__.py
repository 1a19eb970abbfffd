"""Second moments of what a model's weights meet: collected from a text, and read from their files.

blas.py        `one_blas_thread`: products of matrices take their caller's thread, and have the same bits
               always.
collect.py     `collect_moments`: a text runs through a 16-bit model, and its second moments go into a file.
draft.py       `MomentDraft`: a file of moments in the making, from which a later run goes on.
estimate.py    The time that collecting the moments of a text will take, reckoned from what small sums take
               here.
file.py        `MomentFile`: a file of second moments, read one input at a time. `layout` has its form.
inputs.py      `find_inputs`: the distinct inputs of a model's weights, in the order in which a graph has
               them.
layout.py      The layout of a file of moments: a GGUF file's metadata and tensors. Pure.
model_hash.py  `model_hash`: a GGUF model's identity by what it computes, without reading it all.
moments.py     `Moments`: second moments of a weight's input, the sum of x xᵀ over a text, and rows beside it.
sampling.py    `Sampling`: which windows of a text are held out, and which of their rows are kept. Pure.
sums.py        `InputSum`: the sum of x xᵀ over an input's rows so far; `PassSums`: those of a pass over a
               text.
"""
