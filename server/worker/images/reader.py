"""`ImageReader`: a chat's images as pieces of a prompt: tokens, and chunks for the projector."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from models.errors import LlamaCppError, RequestError, WorkerBusy
from models.llamacpp.projector import ImageChunk, Projector
from server.engine.images import ImageSpan, image_tokens
from server.images.fetch_process import ImageFetcher
from server.images.process import ImageProcess, unusable
from server.ipc.chat_image import ChatImage

LIVE_TOKENS_MAX: Final = 65_536
"""The images of all requests that wait or run have at most so many tokens: each holds some kilobytes of
pixels, made ready for the projector, until its request ends."""
RETRY_AFTER_S: Final = 5.0
"""Whoever finds too many images here may come again after so many seconds."""
N_DECODERS: Final = 2
"""So many images are decoded at the same time, each by a process of its own."""
_PLACE = r"(\d{7})"


@dataclass(frozen=True)
class ReadImage:
    """An image that is ready: its pieces in order, and the digest of its pixels."""

    image: ChatImage
    pieces: Sequence[list[int] | ImageChunk]
    digest: bytes

    @property
    def n_tokens(self) -> int:
        """The tokens that it has in a prompt, those around it included."""
        return sum(piece.n_tokens if isinstance(piece, ImageChunk) else len(piece) for piece in self.pieces)


class ImageReader:
    """Makes images ready for a projector; other processes fetch and decode them. Any thread."""

    def __init__(self, projector: Projector, n_ubatch: int, hosts: Sequence[str] = ()) -> None:
        """`n_ubatch`: the most embeddings that see each other. `hosts`: from where images are fetched."""
        self._projector = projector
        self._n_ubatch = n_ubatch
        self.fetcher = ImageFetcher(hosts)
        self._processes = [ImageProcess() for _ in range(N_DECODERS)]
        self._idle: queue.LifoQueue[ImageProcess] = queue.LifoQueue()
        for process in reversed(self._processes):
            self._idle.put(process)
        self._live = _LiveTokens()

    def close(self) -> None:
        """End the processes that fetch and decode."""
        self.fetcher.close()
        for process in self._processes:
            process.close()

    def read(self, image: ChatImage) -> ReadImage:
        """Return an image ready to be computed. Raises RequestError naming its part, and WorkerBusy.

        Its bytes are there: an address has been fetched.
        """
        process = self._idle.get()
        try:
            picture = process.read(image)
        finally:
            self._idle.put(process)
        digest = hashlib.sha256(f"{picture.width} {picture.height} ".encode() + picture.rgb).digest()
        try:
            pieces = self._projector.read_image(picture.width, picture.height, picture.rgb)
        except LlamaCppError as error:
            raise unusable(image, f"can't be shown to this model: {error.message}") from error
        chunks = [piece for piece in pieces if isinstance(piece, ImageChunk)]
        if self._projector.attends_both_ways:
            largest = max((chunk.n_tokens for chunk in chunks), default=0)
            if largest > self._n_ubatch:
                raise unusable(
                    image,
                    f"has {largest:,} tokens that see each other, and {self._n_ubatch:,} are computed at "
                    "once; serve with a larger --n-ubatch",
                )
        for chunk in chunks:
            self._live.add(chunk)
        return ReadImage(image, pieces, digest)


class _LiveTokens:
    """Counts the tokens of the chunks that anybody still has."""

    def __init__(self) -> None:
        self._n = 0
        self._lock = threading.Lock()

    def add(self, chunk: ImageChunk) -> None:
        """Count a chunk for as long as it lives. Raises WorkerBusy if there are too many."""
        n = chunk.n_tokens
        with self._lock:
            if self._n + n > LIVE_TOKENS_MAX:
                raise WorkerBusy(
                    f"the images of the requests here have {self._n:,} tokens, and at most "
                    f"{LIVE_TOKENS_MAX:,} are kept ready; send fewer or smaller ones, or try again later",
                    RETRY_AFTER_S,
                )
            self._n += n
        weakref.finalize(chunk, self._release, n)

    def _release(self, n: int) -> None:
        with self._lock:
            self._n -= n


Tokenize = Callable[[str], list[int]]


class SeenImages:
    """The images of one chat, and the way its texts become tokens with them."""

    def __init__(self, mark: str, images: Sequence[ReadImage]) -> None:
        """`mark`: see `ChatPrompt.image_mark`."""
        self._images = images
        self._marks = re.compile(re.escape(mark) + _PLACE)

    def tokens(self, text: str, tokenize: Tokenize) -> tuple[list[int], tuple[ImageSpan, ...]]:
        """Return the tokens of a text with marks, and where images are among them."""
        tokens: list[int] = []
        spans: list[ImageSpan] = []
        for i, part in enumerate(self._marks.split(text)):
            if i % 2 == 0:
                tokens += tokenize(part) if part else []
                continue
            image = self._images[int(part)]
            for number, piece in enumerate(image.pieces):
                if isinstance(piece, ImageChunk):
                    spans.append(ImageSpan(len(tokens), piece.n_tokens, piece))
                    name = b"%s %d %d" % (image.digest, number, piece.n_tokens)
                    tokens += image_tokens(name, piece.n_tokens)
                else:
                    tokens += piece
        return tokens, tuple(spans)

    def check_shown(self, text: str, messages: Sequence[dict[str, object]]) -> None:
        """Raise RequestError for an image of `messages` that the prompt's text lacks."""
        shown = set(self._marks.findall(text))
        for message in messages:
            for place in self._marks.findall(str(message.get("content"))):
                if place not in shown:
                    param = self._images[int(place)].image.param
                    raise RequestError(f"the model's chat template drops the image of '{param}'", param=param)


def shifted(spans: Sequence[ImageSpan], n: int) -> tuple[ImageSpan, ...]:
    """Return the images `n` tokens later."""
    return tuple(ImageSpan(span.start + n, span.n_tokens, span.content) for span in spans)
