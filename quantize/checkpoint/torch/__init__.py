"""The files of torch.save, read as data: no torch, and no pickle is run.

file.py           One torch file (`.bin`, `.pth`, `.pt`), read without torch: its tensors and their places.
objects.py        The objects that a tensor's pickle may mention: names, storages, tensors; their numbers are
                  checked.
source.py         torch's own files as a TensorSource: one file, or several shards.
unpickle.py       A reader of torch files' pickles: a small machine that makes tensors' descriptions and no
                  more.
zip_directory.py  The directory of an uncompressed zip file: the place of each member's bytes.
"""
