"""`ImageIntake`: a request's images come in before it is prepared: fetched, then read one at a time.

```
take ──▶ fetched, beside those of other requests ──▶ each a job in the lane of images ──▶ done
     └─▶ all bytes are there ────────────────────────┘
```

Requests take turns, image by image: one that has many images, or slow ones, holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from models.errors import CorralError
from server.ipc.chat_image import ChatImage
from server.ipc.messages import CountTokens, Generate
from server.ipc.prompts import ChatPrompt
from server.worker.images.reader import ImageReader, ReadImage
from server.worker.lanes import Lanes
from server.worker.prompts import PromptReader

logger = logging.getLogger("corral.worker")


@dataclass(frozen=True)
class Arrival:
    """The end of the way: `done` or `failed` is called once, in any thread.

    Neither is, where `is_wanted` says no in the meantime.
    """

    done: Callable[[Sequence[ReadImage]], None]
    failed: Callable[[Exception], None]
    is_wanted: Callable[[], bool]


class ImageIntake:
    """Brings images in for one model's requests. Any thread."""

    def __init__(self, lanes: Lanes, prompts: PromptReader, images: ImageReader) -> None:
        self._lanes = lanes
        self._prompts = prompts
        self._fetcher = images.fetcher

    def take(self, message: Generate | CountTokens, arrival: Arrival) -> None:
        """Begin to bring in the images of a message that has some. Doesn't block."""
        prompt = message.prompt
        assert isinstance(prompt, ChatPrompt)

        def go_on(images: Sequence[ChatImage] | CorralError) -> None:
            if isinstance(images, CorralError):
                self.forget(message.id)
                arrival.failed(images)
            else:
                here = msgspec.structs.replace(prompt, images=tuple(images))
                self._put(_Reading(msgspec.structs.replace(message, prompt=here), self._prompts), arrival)

        try:
            if any(image.url for image in prompt.images):
                self._fetcher.fetch(message.id, prompt.images, go_on)
            else:
                go_on(prompt.images)
        except CorralError as error:
            arrival.failed(error)

    def forget(self, message_id: str) -> None:
        """Fetch no more for a message, and hold nothing of it. Harmless if nothing is."""
        self._fetcher.done(message_id)

    def _put(self, reading: _Reading, arrival: Arrival) -> None:
        self._lanes.put(lambda: self._read_next(reading, arrival), "images")

    def _read_next(self, reading: _Reading, arrival: Arrival) -> None:
        """Read one image, and put the next one behind those of other requests."""
        try:
            if arrival.is_wanted() and reading.read_next():
                self._put(reading, arrival)
                return
        except CorralError as error:
            self.forget(reading.message.id)
            arrival.failed(error)
            return
        except Exception as error:  # a lane's top: the request hears of a defect
            logger.exception("an image could not be read")
            self.forget(reading.message.id)
            arrival.failed(error)
            return
        self.forget(reading.message.id)
        if arrival.is_wanted():
            arrival.done(reading.read)


class _Reading:
    """A message whose images are read; all their bytes are there."""

    def __init__(self, message: Generate | CountTokens, prompts: PromptReader) -> None:
        self.message = message
        self.read: list[ReadImage] = []
        self._rest: Iterator[ReadImage] = prompts.see(message)

    def read_next(self) -> bool:
        """Read one more; False if there is none. Raises RequestError and WorkerBusy."""
        image = next(self._rest, None)
        if image is not None:
            self.read.append(image)
        return image is not None
