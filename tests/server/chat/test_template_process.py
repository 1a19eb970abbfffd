"""Templates that come from an enemy end in an error, in bounded time, and the next chat is served."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.template_process import Limits, TemplateProcess, encode_job

SMALL = Limits(cpu_s=0.4, memory_bytes=256 << 20)
MESSAGES = [{"role": "user", "content": "Hi"}]
MANY = "{% for a in range(99999) %}{% for b in range(99999) %}"
END_MANY = "{% endfor %}{% endfor %}"
DOUBLE = "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
GREEDY = {
    "loops": MANY + "{% for c in range(99999) %}{% endfor %}" + END_MANY,
    "printing": MANY + "0123456789" * 5 + END_MANY,
    "doubling": "{% set ns = namespace(x='aaaaaaaa') %}" + DOUBLE + "{{ ns.x }}",
    "multiplication": "{{ 'a' * 100000000000 }}",
    "power": "{% set n = 9 %}{{ n ** (n ** n) }}",
    "width": "{{ '%99999999999d' % 1 }}",
    "laughs": "{% set a = ['x'] * 3000 %}{% set b = [a] * 3000 %}{{ [b] * 3000 }}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
}


@pytest.fixture
def made() -> Iterator[list[TemplateProcess]]:
    processes: list[TemplateProcess] = []
    yield processes
    for process in processes:
        process.close()


def ask(process: TemplateProcess, messages: list[dict[str, Any]] | None = None) -> str:
    return process.render(encode_job(messages or MESSAGES, add_generation_prompt=True, template_kwargs={}))


def make(made: list[TemplateProcess], source: str) -> TemplateProcess:
    made.append(TemplateProcess(source, bos_token="<s>", eos_token="</s>", limits=SMALL))
    return made[-1]


def child_of(process: TemplateProcess) -> int:
    assert process._child is not None
    return process._child.pid


@pytest.mark.parametrize("name", sorted(GREEDY))
def test_greedy_templates_end_in_an_error(made: list[TemplateProcess], name: str) -> None:
    attacked = "{% if 'attack' in messages[0].content | string %}" + GREEDY[name] + "{% endif %}"
    process = make(made, attacked + "{{ messages[0].content }}")
    assert ask(process) == "Hi"
    begun = time.monotonic()
    with pytest.raises(RequestError, match="chat template"):
        ask(process, [{"role": "user", "content": "attack"}])
    assert time.monotonic() - begun < 20
    assert ask(process) == "Hi"


def test_a_template_that_is_greedy_when_compiled(made: list[TemplateProcess]) -> None:
    with pytest.raises(RequestError):
        ask(make(made, "{{ 'a' * 100000000000 }}"))


def test_it_starts_when_needed_and_keeps_its_child(made: list[TemplateProcess]) -> None:
    process = make(made, "{{ messages[0].content }}")
    assert process._child is None
    assert ask(process) == "Hi"
    child = child_of(process)
    assert ask(process, [{"role": "user", "content": "a\nb “é” \x00"}]) == "a\nb “é” \x00"
    assert child_of(process) == child


def test_a_child_that_was_killed_is_replaced(made: list[TemplateProcess]) -> None:
    process = make(made, "{{ messages[0].content }}")
    process.start()
    os.kill(child_of(process), signal.SIGKILL)
    assert ask(process) == "Hi"


def test_problems_keep_their_words_and_parameter(made: list[TemplateProcess]) -> None:
    with pytest.raises(RequestError, match="no tools here") as caught:
        ask(make(made, "{{ raise_exception('no tools here') }}"))
    assert caught.value.param == "messages[0]"
    with pytest.raises(RequestError, match="not valid Jinja"):
        ask(make(made, "{% endfor %}"))


def test_the_child_ends_with_its_owner() -> None:
    process = TemplateProcess("{{ messages[0].content }}", bos_token="", eos_token="")
    assert ask(process) == "Hi"
    child = child_of(process)
    del process
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_prompt_beyond_the_limit(made: list[TemplateProcess]) -> None:
    made.append(
        TemplateProcess(  # with time for so many characters on a busy machine
            "{{ messages[0].content }}{{ 'aaaaaaaa' * 2000000 }}",
            bos_token="<s>",
            eos_token="</s>",
            limits=Limits(cpu_s=20, memory_bytes=SMALL.memory_bytes),
        )
    )
    with pytest.raises(RequestError, match="the limit is"):
        ask(made[-1])


def test_it_learns_before_the_first_chat(made: list[TemplateProcess]) -> None:
    """The line that makes it learn has no reply, so the first chat gets its own."""
    process = make(made, "{% for m in messages %}{{ m.content }}{% endfor %}")
    process.start()
    process.start()
    assert ask(process) == "Hi"


def test_a_template_that_can_not_learn_in_time_renders_chats_nevertheless(
    made: list[TemplateProcess],
) -> None:
    process = make(made, f"{{% if tools %}}{MANY}{END_MANY}{{% endif %}}{{{{ messages[0].content }}}}")
    process.start()
    assert process._child is not None
    process._child.wait()
    assert ask(process) == "Hi"


def test_a_template_that_is_none_says_so_to_the_chat(made: list[TemplateProcess]) -> None:
    process = make(made, "{% if %}")
    process.start()
    with pytest.raises(RequestError, match="not valid Jinja"):
        ask(process)
