"""The parts of a GGUF file that need no tensor: header, general metadata, size label.

general_metadata.py  The `general.` keys of GGUF: name, author, licence, tags … from the model card; sampling
                     defaults.
header.py            The header of a GGUF file as bytes: magic, metadata, tensor table, padding. Pure.
parameter_count.py   The number of a model's parameters, and of those in experts: the size in its name
                     (`8x7B`).
"""
