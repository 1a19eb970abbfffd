"""Chats with images on the real chain: decoded, embedded by libmtmd, computed beside others, cached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from models.errors import InvalidGGUF, RequestError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.projector import ImageChunk, Projector, is_available
from server.chat.images import ChatImages
from server.engine.engine import Engine
from server.engine.events import Delta, Event, Failure, Finish
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import ApplyTemplate, CountTokens, Generate
from server.ipc.prompts import ChatPrompt
from server.ipc.pulse import Pulse
from server.worker.open.parts import LoadedModel
from server.worker.run.runner import LlamaRunner
from server.worker.worker import open_engine
from tests.server.images.samples import broken_files, encoded, fields
from tests.server.worker.open.loaded import loaded, spec_of
from tests.vision_models import WAYS, Way, write_projector, write_text_model

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not is_available(), reason="this build of llama.cpp has no libmtmd"),
]
OPTIONS: dict[str, Any] = {"ctx": 384, "parallel": 3, "n_batch": 256, "n_ubatch": 256, "speculate": "off"}


class Seeing:
    """A served model with eyes, and its engine."""

    def __init__(self, model: LoadedModel, engine: Engine) -> None:
        self.model = model
        self.engine = engine
        self.events: list[Event] = []

    def ask(
        self, id_: str, messages: list[dict[str, Any]], images: list[bytes], **more: Any
    ) -> EngineRequest:
        """Submit a chat; `{image}` in a content is the next of `images`."""
        taken = ChatImages()
        marked = []
        files = iter(images)
        for message in messages:
            content = message["content"]
            while "{image}" in content:
                part = {"type": "image_url", "image_url": {"url": data_url(next(files))}}
                content = content.replace("{image}", taken.take(part, "messages[0].content[0]"), 1)
            marked.append({**message, "content": content})
        prompt = ChatPrompt(marked, images=tuple(taken.found), image_mark=taken.mark)
        params = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
        wish = Generate(id=id_, prompt=prompt, params=params, given=("temperature", "max_tokens"), **more)
        request = self.model.prompts.read(wish)
        self.engine.submit(request)
        return request

    def run(self) -> None:
        while self.engine.has_work:
            self.events += self.engine.step()
        self.engine.check_integrity()

    def text(self, id_: str) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta) and event.id == id_)

    def finish(self, id_: str) -> Finish:
        (event,) = [one for one in self.events if isinstance(one, Finish | Failure) and one.id == id_]
        assert isinstance(event, Finish), event
        return event


def data_url(data: bytes) -> str:
    import base64

    return "data:image/png;base64," + base64.b64encode(data).decode()


def size_of(way: Way) -> tuple[int, int]:
    return (88, 40) if way == "qwen2vl" else (40, 30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Way, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("vision")
    return {
        way: (
            write_text_model(folder / f"{way}.gguf", way),
            write_projector(folder / f"mmproj-{way}.gguf", way),
        )
        for way in WAYS
    }


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def seeing(files: dict[Way, tuple[Path, Path]], way: Way) -> Iterator[Seeing]:
    with open_seeing(files[way]) as found:
        yield found


@contextmanager
def open_seeing(files: tuple[Path, Path], **options: Any) -> Iterator[Seeing]:
    """A model with its projector, ready for requests."""
    options = {**OPTIONS, **options, "projector_path": str(files[1])}
    with loaded(files[0], **options) as model:
        engine = open_engine(spec_of(files[0], **options), model, Pulse())
        assert isinstance(engine, Engine)
        try:
            yield Seeing(model, engine)
        finally:
            model.prompts.close()


def projector_of(seeing: Seeing) -> Projector:
    runner = seeing.model.runner
    assert isinstance(runner, LlamaRunner)
    assert runner._images is not None
    return runner._images._projector


def alone(seeing: Seeing, request: EngineRequest, n: int) -> list[int]:
    """The greedy tokens after a prompt, computed in a context of its own, without any engine."""
    projector, runner = projector_of(seeing), cast("LlamaRunner", seeing.model.runner)
    model = runner._context.model
    tokens = list(request.prompt_tokens)
    with Context(model, n_ctx=512, n_batch=256, n_ubatch=256, n_threads=1) as context:
        at = position = 0
        for span in (*request.images, None):
            end = len(tokens) if span is None else span.start
            text = tokens[at:end]
            if text:
                batch = TokenBatch(len(text))
                batch.add_many(text, position, 0, output_last=True)
                context.decode(batch)
                position += len(text)
            if span is not None:
                chunk = cast("ImageChunk", span.content)
                projector.decode(context, chunk, projector.encode(chunk), position, 0)
                position += chunk.n_positions
                at = span.end
        found: list[int] = []
        batch = TokenBatch(1)
        for _ in range(n):
            found.append(int(np.argmax(context.logits()[-1])))
            batch.clear()
            batch.add(found[-1], position, 0, output=True)
            position += 1
            context.decode(batch)
    return found


LONG = "the lazy fox jumps over the quick brown dog, 1234567890; "
"""So much text before an image is worth a copy of it."""
TALK = [{"role": "user", "content": LONG + "the cat {image} and the dog"}]


def test_an_answer_is_that_of_the_model_alone(seeing: Seeing, way: Way) -> None:
    request = seeing.ask("a", TALK, [encoded(fields(*size_of(way)))], return_tokens=True)
    seeing.run()
    said = [token for one in seeing.events if isinstance(one, Delta) for token in one.tokens]
    assert said == alone(seeing, request, 8)
    assert seeing.finish("a").usage.prompt_tokens == len(request.prompt_tokens)


def test_the_second_turn_computes_no_image_again(
    seeing: Seeing, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded_chunks = Projector.encode, []

    def count(projector: Projector, chunk: ImageChunk) -> Any:
        encoded_chunks.append(chunk)
        return encode(projector, chunk)

    monkeypatch.setattr(Projector, "encode", count)
    images = [encoded(fields(*size_of(way))), encoded(fields(*size_of(way), seed=3))]
    first = seeing.ask("a", TALK, images[:1])
    seeing.run()
    talk = [
        *TALK,
        {"role": "assistant", "content": seeing.text("a")},
        {"role": "user", "content": "{image} so"},
    ]
    second = seeing.ask("b", talk, images, return_tokens=True)
    seeing.run()
    assert seeing.finish("b").usage.cached_tokens >= len(first.prompt_tokens) - 1
    assert len(encoded_chunks) == 2
    said = [
        token for one in seeing.events if isinstance(one, Delta) and one.id == "b" for token in one.tokens
    ]
    monkeypatch.setattr(Projector, "encode", encode)
    assert said == alone(seeing, second, 8)


def test_a_prompt_that_leaves_the_cache_after_or_before_an_image(seeing: Seeing, way: Way) -> None:
    image, other = (encoded(fields(*size_of(way), seed=seed)) for seed in (1, 2))
    first = seeing.ask("a", TALK, [image])
    seeing.run()
    after = [{"role": "user", "content": LONG + "the cat {image} and the horse, the horse"}]
    second = seeing.ask("b", after, [image], return_tokens=True)
    seeing.run()
    third = seeing.ask("c", TALK, [other], return_tokens=True)
    seeing.run()
    assert seeing.finish("b").usage.cached_tokens >= first.images[-1].end
    assert seeing.finish("c").usage.cached_tokens <= third.images[0].start
    for id_, request in (("b", second), ("c", third)):
        said = [
            token for one in seeing.events if isinstance(one, Delta) and one.id == id_ for token in one.tokens
        ]
        assert said == alone(seeing, request, 8), id_


def test_streams_and_images_side_by_side(seeing: Seeing, way: Way) -> None:
    """Three slots: a stream, a chat with an image, and one that shares its beginning."""
    image = encoded(fields(*size_of(way)))
    requests = {
        "a": seeing.ask("a", [{"role": "user", "content": "the stars"}], [], return_tokens=True),
    }
    seeing.events += seeing.engine.step()
    for id_ in ("b", "c"):
        requests[id_] = seeing.ask(
            id_,
            [{"role": "user", "content": f"the cat {{image}} and the dog {id_}"}],
            [image],
            return_tokens=True,
        )
    seeing.run()
    for id_, request in requests.items():
        said = [
            token for one in seeing.events if isinstance(one, Delta) and one.id == id_ for token in one.tokens
        ]
        assert said == alone(seeing, request, 8), id_


def test_questions_beside(seeing: Seeing, way: Way) -> None:
    image = encoded(fields(*size_of(way)))
    request = seeing.ask("a", TALK, [image])
    seeing.run()
    taken = ChatImages()
    mark = taken.take({"type": "input_image", "image_url": data_url(image)}, "input[0]")
    prompt = ChatPrompt(
        [{"role": "user", "content": f"{LONG}the cat {mark} and the dog"}],
        images=tuple(taken.found),
        image_mark=taken.mark,
    )
    assert seeing.model.prompts.count_tokens(CountTokens(prompt=prompt)).n_tokens == len(
        request.prompt_tokens
    )
    shown = seeing.model.prompts.apply_template(ApplyTemplate(prompt=prompt)).prompt
    assert shown == f"user: {LONG}the cat <__media__> and the dog\nassistant: "
    assert seeing.model.info.sees_images


def test_broken_images_are_refused_and_good_ones_go_on(files: dict[Way, tuple[Path, Path]]) -> None:
    with open_seeing(files["llava"]) as seeing:
        for number, data in enumerate(broken_files(60)):
            if not data:
                continue
            with pytest.raises(RequestError) as caught:
                seeing.ask(f"x{number}", TALK, [data])
            assert caught.value.param == "messages[0].content[0]"
        seeing.ask("a", TALK, [encoded(fields())])
        seeing.run()
        assert seeing.finish("a").usage.completion_tokens == 8


def test_what_has_no_room_or_no_eyes(files: dict[Way, tuple[Path, Path]], tmp_path: Path) -> None:
    with (
        open_seeing(files["gemma3"], n_batch=3, n_ubatch=3, parallel=2) as seeing,
        pytest.raises(RequestError, match=r"4 tokens that see each other.*--n-ubatch"),
    ):
        seeing.ask("a", TALK, [encoded(fields())])
    with open_seeing(files["llava"], ctx=64) as seeing:
        talk = [{"role": "user", "content": "{image}{image}{image}{image}{image}"}]
        with pytest.raises(RequestError, match="maximum context length is 64"):
            seeing.ask("a", talk, [encoded(fields())] * 5)
    with loaded(files["llava"][0]) as blind:
        taken = ChatImages()
        mark = taken.take({"type": "image", "source": {"type": "url", "url": "http://x/a.png"}}, "here")
        prompt = ChatPrompt(
            [{"role": "user", "content": mark}], images=tuple(taken.found), image_mark=taken.mark
        )
        with pytest.raises(RequestError, match="sees no images") as caught:
            blind.prompts.read(Generate(id="a", prompt=prompt, params=SamplingParams()))
        assert caught.value.param == "here"
        assert not blind.info.sees_images
    with (
        pytest.raises(InvalidGGUF, match="is no projector"),
        loaded(files["llava"][0], projector_path=str(files["gemma3"][0])),
    ):
        pass


def test_layouts_and_copies_keep_images_right(files: dict[Way, tuple[Path, Path]], way: Way) -> None:
    """A long chat has the slots share their cells; what they hold moves, or is computed again."""
    with open_seeing(files[way], ctx=300, parallel=2) as seeing:
        image = encoded(fields(*size_of(way)))
        first = seeing.ask("a", TALK, [image], return_tokens=True)
        seeing.run()
        long_talk = [{"role": "user", "content": "{image}" + "the cat and the dog " * 12}]
        second = seeing.ask("b", long_talk, [image], return_tokens=True)
        third = seeing.ask("c", TALK, [image], return_tokens=True)
        seeing.run()
        for id_, request in (("a", first), ("b", second), ("c", third)):
            said = [
                token
                for one in seeing.events
                if isinstance(one, Delta) and one.id == id_
                for token in one.tokens
            ]
            assert said == alone(seeing, request, 8), id_
