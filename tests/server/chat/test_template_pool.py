from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.template_pool import N_PROCESSES, SHORT_JOB_BYTES, TemplatePool
from server.chat.template_process import Limits

SLOW = "{% for a in range(99999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
TEMPLATE = "{% if 'slow' in messages[0].content %}" + SLOW + "{% endif %}{{ messages[0].content }}"


@pytest.fixture
def pool() -> Iterator[TemplatePool]:
    made = TemplatePool(TEMPLATE, bos_token="", eos_token="", limits=Limits(cpu_s=1, wall_s=9))
    yield made
    made.close()


def render(pool: TemplatePool, content: str) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    return pool.render(messages, add_generation_prompt=True, template_kwargs={})


def n_started(pool: TemplatePool) -> int:
    return sum(process._child is not None for process in (*pool._short, *pool._long))


@pytest.mark.parametrize("n_slow", [1, 2 * N_PROCESSES])
def test_a_short_chat_doesnt_wait_for_long_ones(pool: TemplatePool, n_slow: int) -> None:
    assert render(pool, "warm") == "warm"
    refused: list[str] = []

    def be_slow() -> None:
        with pytest.raises(RequestError, match="chat template takes more than") as caught:
            render(pool, "slow" + " long" * SHORT_JOB_BYTES)
        refused.append(caught.value.message)

    threads = [threading.Thread(target=be_slow) for _ in range(n_slow)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert render(pool, "hello") == "hello"
    assert not refused, "the long ones were done before"
    for thread in threads:
        thread.join(60)
    assert len(refused) == n_slow


def test_a_slow_short_chat_leaves_a_process_to_others(pool: TemplatePool) -> None:
    def be_slow() -> None:
        with pytest.raises(RequestError, match="chat template takes more than"):
            render(pool, "slow")

    slow = threading.Thread(target=be_slow)
    slow.start()
    time.sleep(0.3)
    assert render(pool, "hello") == "hello"
    assert slow.is_alive(), "the slow one was done before"
    slow.join(60)


def test_processes_start_when_they_are_needed(pool: TemplatePool) -> None:
    assert n_started(pool) == 0
    for _ in range(3):
        assert render(pool, "hello") == "hello"
    assert n_started(pool) == 1
    pool.start()  # the first long chat's, too
    assert n_started(pool) == 2
    assert render(pool, "hello" * SHORT_JOB_BYTES) == "hello" * SHORT_JOB_BYTES
    assert n_started(pool) == 2
    pool.close()
    assert n_started(pool) == 0
    assert render(pool, "hello") == "hello"
