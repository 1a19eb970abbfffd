from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidGGUF
from models.gguf.info import read_gguf_info


def refused(path: Path) -> str:
    """Return the reason for which a file is refused; the test fails if it isn't."""
    with pytest.raises(InvalidGGUF) as caught:
        read_gguf_info(path)
    message = caught.value.message
    assert str(path.parent) in message
    assert "; " in message
    assert len(message) < 500
    return message
