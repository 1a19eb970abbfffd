"""Plans of quantizations: every tensor, its type and its place in every output, before a byte is read.

header_check.py     The check of a planned header, as the file would be checked before it is loaded. Pure.
make_plan.py        The reading edge of a plan: a checkpoint's family, vocabulary and metadata are read here.
plan.py             The plan of a quantization: every tensor, its sources and types; every byte before one is
                    read.
planned_model.py    `PlannedModel`: a planned file as estimates of memory read a GGUF file's header.
products.py         The products of matrices that a planned model computes for each token, by names and
                    shapes. Pure.
projector.py        The projector in a plan: its tensors after the model's own, its file, the converter's
                    types.
second_scales.py    The second scales of NVFP4: which tensors can have one, and where it is. Pure.
source_names.py     The tensors of a checkpoint by the names that a family's rules have for them.
split.py            The layout of an output: one file, or parts that llama.cpp loads as one. Pure.
type_recipe.py      Type recipes: a type for each tensor, the size it was chosen for, what was measured. A
                    JSON file.
types.py            The choice of types: llama.cpp's rules, an importance matrix, recipes, types given by
                    name. Pure.
vocabulary_file.py  `vocabulary_file`: a planned model's metadata as a file, of which llama.cpp reads the
                    vocabulary.
"""
