"""`vocabulary_file`: a planned model's metadata as a file, of which llama.cpp reads the vocabulary.

So a text can be counted in the model's tokens before any file of the model is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from models.store.atomic_write import disk_errors
from quantize.gguf.header import encode_header
from quantize.plan.plan import QuantizationPlan


@contextmanager
def vocabulary_file(plan: QuantizationPlan) -> Iterator[Path]:
    """Yield the path of a GGUF file without tensors, which is gone behind the block.

    It has the architecture's name, as errors tell it. Raises DiskFull, StoreError.
    """
    writing = disk_errors("write the vocabulary", Path(tempfile.gettempdir()), "TMPDIR")
    with ExitStack() as stack:
        with writing:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-"))
            path = Path(place, plan.architecture)
            path.write_bytes(encode_header(plan.files[0].metadata, ()))
        yield path
