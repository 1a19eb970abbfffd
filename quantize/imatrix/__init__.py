"""Importance matrices: computed from a text, read from files, and looked up by tensor.

compute.py       The computation of an importance matrix: a text runs through the 16-bit model, squares are
                 summed.
file.py          Files of importance matrices: llama.cpp's GGUF form, and its older binary form.
matrix.py        Importance matrices: the weight of each column's errors, from the activations that meet it.
rare_experts.py  `rare_experts`: the experts of a mixture to which too few tokens of a matrix's text came.
                 Pure.
"""
