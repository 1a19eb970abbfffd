"""Models that other programs have on this disk, taken into the store without a copy.

candidate.py  `Candidate`: a model that another program has on the disk, as its own files describe it.
importer.py   `Importer`: takes models of other programs into the store, without a copy of their bytes.
lm_studio.py  LM Studio's models on this disk: GGUF files, each at `publisher/model/file.gguf` below one
              folder.
names.py      Names in the store for models of other programs. Pure.
ollama.py     Ollama's models on this disk: its manifests and the blobs that they name.
selection.py  `select`: the candidates that names mean, as the other program's users write them. Pure.
servable.py   `servable_type`: what of a candidate's file says that it can be served, and as which type.
"""
