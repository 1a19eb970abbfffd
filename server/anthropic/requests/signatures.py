"""The signatures of thinking blocks: opaque to clients, which send them back. Pure.

Where the client asked for `display: omitted` the signature holds the thoughts, so that they can stand in the
next turn's prompt as they stood in this answer, and the cache finds them.
"""

from __future__ import annotations

import base64
import secrets
import zlib

from server.openai.requests.body_limits import MAX_PROMPT_BYTES

_PLAIN = "corral-t1-"
_FILLED = "corral-t2-"


def signature_of(thoughts: str, *, is_shown: bool) -> str:
    """Return the signature of a thinking block, whose text the client gets or not."""
    if is_shown:
        return _PLAIN + secrets.token_urlsafe(18)
    return _FILLED + base64.urlsafe_b64encode(zlib.compress(thoughts.encode())).decode()


def thoughts_in(signature: str) -> str:
    """Return the thoughts that a signature of ours holds, else none. Raises ValueError if it is broken."""
    if not signature.startswith(_FILLED):
        return ""
    try:
        packed = base64.urlsafe_b64decode(signature.removeprefix(_FILLED))
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MAX_PROMPT_BYTES)
        thoughts = text.decode()
    except (ValueError, zlib.error) as error:
        raise ValueError("it was changed") from error
    if not unpacker.eof:
        raise ValueError("it is cut, or too long")
    return thoughts
