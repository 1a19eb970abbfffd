from __future__ import annotations

import httpx
import pytest

from server.http.pieces import SENT_BYTES, JsonPieces, grouped


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], [b""]),
        ([b"ab", b"c"], [b"abc"]),
        ([b"abcd"], [b"abcd"]),
        ([b"ab", b"cd", b"e"], [b"abcd", b"e"]),
        ([b"abcde", b"f"], [b"abcde", b"f"]),
    ],
)
def test_grouped(pieces: list[bytes], expected: list[bytes]) -> None:
    assert list(grouped(pieces, 4)) == expected


@pytest.mark.parametrize("n", [1, 5])
async def test_an_answer_has_its_length_and_all_its_bytes(n: int) -> None:
    pieces = [b"[", *[b'"' + b"a" * (SENT_BYTES // 2) + b'",'] * (n - 1), b"1]"]
    response = await JsonPieces.of(pieces)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=response), base_url="http://x") as client:
        got = await client.get("/")
    assert got.content == b"".join(pieces)
    assert got.headers["content-type"] == "application/json"
    assert int(got.headers["content-length"]) == len(got.content)
