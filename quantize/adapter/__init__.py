"""PEFT adapters: their configuration, and their conversion to GGUF adapters.

base_model.py     The families that a base model may be of, read back from its GGUF file.
config.py         adapter_config.json of a PEFT adapter: how strong it is, and which fields are refused.
convert.py        The conversion of a PEFT LoRA adapter into one GGUF file for llama.cpp.
layer_classes.py  The classes of adapted layers: which matrices are transformers' Conv1D, and which are
                  Linear.
"""
