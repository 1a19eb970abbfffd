"""Checkpoints on disk or on the Hub: named tensors, whatever their files and their encoding.

checkpoint.py        A checkpoint: a folder as Hugging Face lays it out, in any form of weights; or a GGUF
                     file.
file_bytes.py        The bytes of one file, by offset: the only way in which checkpoints are read.
gguf.py              A GGUF file, whole or in parts, as a TensorSource: its own tensors by their GGUF names.
hub_stream.py        A checkpoint of the Hub whose weights never reach the disk: they are fetched while
                     quantized.
json_file.py         JSON files of a checkpoint, read with a limit and with errors that name the file.
prefetch.py          Files of the Hub, fetched in chunks ahead of their readers, within a budget of memory.
safetensors.py       safetensors files as a TensorSource: one file, or several shards.
sentence_modules.py  Sentence-transformers' modules: their folders, and the dense layers' settings and
                     weights.
shards.py            Several files that are one checkpoint: a source over their headers, and the index that
                     lists them.
source.py            The contract of a checkpoint's weights: named tensors, whose rows are read when they are
                     requested.
quantized/           Quantized checkpoints (GPTQ, AWQ, FP8, MXFP4, compressed-tensors), read as floats.
torch/               The files of torch.save, read as data: no torch, and no pickle is run.
"""
