"""The store of quantized models under CORRAL_HOME, with its manifests, locks and staging.

atomic_write.py   Writing that survives a kill or a power cut: fsync, then rename.
file_lock.py      A lock file that is held by the kernel, or where the file system has no locks, by being
                  there.
fingerprint.py    `fingerprint`: a local checkpoint's stand-in for a commit, which changes when its files do.
gguf_manifest.py  `manifest_of`: the manifest of a model that is one ready GGUF, from what its header says.
locks.py          Locks between processes. The kernel drops a lock when its holder dies, so none is ever left
                  behind.
manifest.py       `manifest.json`, which says what the store has of one model at one revision: structs and
                  file form.
prefixes.py       Folders of kept prefixes by their model: what a server computed with a file goes when the
                  file goes.
records.py        `StoredModel` and `StoredFile`: a manifest and the files it speaks of. Reads sizes, changes
                  nothing.
short_names.py    Short names of models that are here: `smollm2` for `HuggingFaceTB/SmolLM2-135M-Instruct`.
                  Pure.
staging.py        Staging folders, in which files are written before they are published, and the sweep of
                  remains.
store.py          `ModelStore`: the quantized models on this machine, to list, publish and remove.
"""

from __future__ import annotations
