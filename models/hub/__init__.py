"""The Hugging Face Hub: plans of downloads, transfers into its cache, and its errors.

cache.py          The Hub's cache on this machine, in the layout that all its tools share, and notes about it.
download.py       Downloads from the Hub: `plan` chooses the files, `run` fetches what the cache lacks.
errors.py         Translation of the Hub's errors into `models.errors`, in this one place.
fetch.py          A file's way from the Hub into the cache: resumed, hashed, named when its hash is right.
files.py          Choice of a repository's files for a download, from its listing; pure.
link_download.py  A ready GGUF of the Hub as a model of the store, which lists it; the file stays in the Hub's
                  cache.
plan.py           `DownloadPlan`: a download as data, before it runs: its files, and the bytes here already.
ranges.py         Parts of the Hub's files, as bytes in memory, requested until all of a part is here.
search.py         `search`: the Hub's models by words in their names, with the sizes of what each has to
                  download.
transfer.py       Several transfers at once, on threads of their own, with progress reported on the caller's
                  thread.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from models.secrets import clean_address


def _is_readable(address: str) -> bool:
    """Tell whether the Hub's library, which reads its endpoint as it is imported, can do so.

    It would print the part of the address that it takes for a port.
    """
    try:
        return urlsplit(address).port != 0
    except ValueError:
        return False


if not _is_readable(_address := os.environ.get("HF_ENDPOINT", "")):
    clean_address(_address, "HF_ENDPOINT")
