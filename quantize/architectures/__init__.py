"""The model families, and what tells which one a checkpoint or a file is of.

folder_classes.py      `folder_classes`: the classes in a folder's files that name models of the Hub.
projector_registry.py  The projectors, found in their folder, and which of them a checkpoint has.
refused.py             Models that are refused, by their `architectures` entries, with what they are.
registry.py            The families, found in their folder, and the family of a checkpoint or of a GGUF file.
requantize.py          The architecture of a GGUF model: its tensors under their own names, its metadata kept.
base/                  The parts of families: a base class for each shape of model, rules and transforms.
families/              The model families: hyper-parameters to GGUF keys, tensor names and transforms, cousins
                       in one file.
projectors/            The projectors: one file per family, found by itself.
"""
