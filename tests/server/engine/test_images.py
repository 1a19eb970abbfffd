from __future__ import annotations

from server.engine.engine import EngineConfig
from server.engine.images import (
    FIRST_IMAGE_TOKEN,
    ImageSpan,
    image_tokens,
    is_image_token,
    next_start,
    span_at,
    text_before_image,
    whole_prefix,
    without_images,
)
from tests.server.engine.harness import Clock, Harness, request
from tests.server.engine.scripted_runner import ScriptedRunner

TEXT = [1, 2, 3, 4, 5]
CAT, DOG = image_tokens(b"cat", 20), image_tokens(b"dog", 20)


def seen(image: list[int], before: int = 40) -> tuple[list[int], tuple[ImageSpan, ...]]:
    """A prompt of text, an image and text."""
    start = [n % 9 for n in range(before)]
    return [*start, *image, *TEXT], (ImageSpan(before, len(image), "image"),)


def harness() -> Harness:
    runner = ScriptedRunner(n_slots=3, n_batch=16)
    return Harness(runner, EngineConfig(prefill_tokens_alone=16), None, Clock(), None)


def test_tokens_are_numbers_of_the_image_alone() -> None:
    assert image_tokens(b"cat", 20) == CAT
    assert image_tokens(b"cat", 7) == CAT[:7]
    assert not set(CAT) & set(DOG)
    assert all(FIRST_IMAGE_TOKEN <= token < 1 << 63 for token in CAT)
    assert [is_image_token(token) for token in (0, 1 << 31, CAT[0])] == [False, False, True]
    assert without_images([1, *CAT, 2]) == [1, 2]
    assert text_before_image([1, 2, *CAT, 3]) == [1, 2]
    assert text_before_image([1, 2]) == [1, 2]


def test_places_of_images() -> None:
    spans = (ImageSpan(3, 4, None), ImageSpan(7, 2, None), ImageSpan(20, 5, None))
    assert [span_at(spans, at) for at in (2, 3, 4, 7, 25)] == [None, spans[0], None, spans[1], None]
    assert [next_start(spans, at) for at in (0, 3, 7, 20)] == [3, 7, 20, None]
    assert [whole_prefix(spans, n) for n in (2, 3, 6, 7, 8, 9, 22, 25, 30)] == [2, 3, 3, 7, 7, 9, 20, 25, 30]


def test_an_image_is_computed_whole_and_alone_of_its_prompt() -> None:
    play = harness()
    prompt, images = seen(CAT)
    play.submit(request(prompt, images=images, max_tokens=3))
    play.run()
    sizes = [[len(entry.tokens) for entry in batch.entries] for batch in play.runner.batches]
    assert sizes == [[16], [16], [8], [20], [5], [1], [1]]
    assert [batch.image is not None for batch in play.runner.batches].index(True) == 3


def test_the_next_turn_computes_no_image_again_and_another_image_is_another() -> None:
    play = harness()
    prompt, images = seen(CAT)
    first = play.submit(request(prompt, images=images, max_tokens=3))
    play.run()
    second = play.submit(request([*prompt, 6, 7], images=images, max_tokens=3))
    play.run()
    assert play.outcomes[second].finish.usage.cached_tokens == len(prompt)
    other, others_images = seen(DOG)
    third = play.submit(request(other, images=others_images, max_tokens=3))
    play.run()
    assert play.outcomes[third].finish.usage.cached_tokens == 40
    assert play.outcomes[first].finish.usage.prompt_tokens == 65
    assert sum(batch.image is not None for batch in play.runner.batches) == 2


def test_two_prompts_share_no_part_of_an_image() -> None:
    play = harness()
    prompt, images = seen(CAT)
    play.submit(request(prompt, images=images, max_tokens=3))
    play.run()
    cut = [*prompt[:50], *TEXT]  # as if the same tokens were another image's, which is shorter
    found = play.submit(request(cut, images=(ImageSpan(40, 10, "image"),), max_tokens=1))
    play.run()
    assert play.outcomes[found].finish.usage.cached_tokens == 50
    longer = [*prompt[:60], *DOG[:5], *TEXT]
    other = play.submit(request(longer, images=(ImageSpan(40, 25, "image"),), max_tokens=1))
    play.run()
    assert play.outcomes[other].finish.usage.cached_tokens == 40


def test_streams_go_on_beside_images_and_each_step_has_one_at_most() -> None:
    play = harness()
    stream = play.submit(request([1, 2, 3], max_tokens=20, ignore_eos=True))
    play.step()
    for image in (CAT, DOG):
        prompt, images = seen(image, before=2)
        play.submit(request(prompt, images=images, max_tokens=1))
    play.run()
    with_image = [batch for batch in play.runner.batches if batch.image is not None]
    assert len(with_image) == 2
    assert all(len(batch.entries) > 1 for batch in with_image)
    assert play.outcomes[stream].finish.usage.completion_tokens == 20


def test_an_image_that_fails_fails_its_request_alone() -> None:
    play = harness()
    play.submit(request([1, 2, 3], max_tokens=20, ignore_eos=True))
    play.step()
    prompt, images = seen(CAT, before=2)
    broken = play.submit(request(prompt, images=images, max_tokens=4))
    play.step()
    (sequence_id,) = set(play.runner.samplers) - {
        0 if 0 in play.runner.samplers else min(play.runner.samplers)
    }
    play.runner.poisoned.add(sequence_id)
    play.run()
    assert "broken image" in play.outcomes[broken].failure.message
    again = play.submit(request(prompt, images=images, max_tokens=4))
    play.run()
    assert play.outcomes[again].finish.usage.completion_tokens > 0


def test_what_cant_be_with_images_is_refused() -> None:
    play = harness()
    prompt, images = seen(CAT)
    at_the_end = play.submit(request(prompt[:60], images=images))
    scored = play.submit(request(prompt, images=images, score_prompt=True, n_probs=1))
    unknown = play.submit(request([1, CAT[0], 2]))
    play.run()
    assert "ends with an image" in play.outcomes[at_the_end].failure.message
    assert "no logprobs" in play.outcomes[scored].failure.message
    assert "outside this model's vocabulary" in play.outcomes[unknown].failure.message
