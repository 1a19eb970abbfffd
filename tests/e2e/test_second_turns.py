"""The second turn of a long session computes little more than what is new in it, in all three protocols.

An answer with a constrained call is sent back as each protocol has it, with the tool's result behind it, and
then with a question more. The model has random weights: what it writes is nothing but what the grammar holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.running import RunningServer, environment, serving
from tests.e2e.sessions import PROTOCOLS, Session

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(600)]

TEMPLATE = """
{%- if tools %}<|im_start|>system
{{ messages[0].content }}
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Call by <tool_call>{"name": N, "arguments": A}</tool_call><|im_end|>
{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}<|im_start|>user
{{ m.content }}<|im_end|>
{% elif m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% elif m.role == 'assistant' %}<|im_start|>assistant
{% if loop.index0 > ns.last and m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}{% if m.content or not loop.first %}
{% endif %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking %}<think>
{% endif %}{% endif %}"""
"""The shape of Qwen3's: tools in the system text, thoughts only behind the last user's turn."""

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "Bern", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "exact": {"type": "boolean"},
    },
    "required": ["city", "days", "exact"],
}
SYSTEM = "".join(f"{number}. The cat sat on the mat and said hello to the world.\n" for number in range(540))
ENOUGH = 0.95


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("turns")
    tiny = TinyModel(
        vocabulary="bpe",
        n_layer=1,
        n_ff=256,
        n_head=2,
        n_head_kv=1,
        n_ctx_train=65_536,
        chat_template=TEMPLATE,
    )
    model = write_tiny_gguf(folder / "agent.gguf", tiny)
    options = (str(model), "--ctx", "65536", "--parallel", "2")
    with serving(*options, env=environment(folder), log=folder / "log") as running:
        yield running


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinks"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_turn_is_cached(server: RunningServer, protocol: type[Session], thinks: bool) -> None:
    session = protocol(server, PARAMETERS, system=SYSTEM, thinks=thinks)
    session.ask("How warm?")
    first = session.turn(calls=True)
    assert first.n_prompt > 19_000
    session.give_result()
    with_result = session.turn(calls=False)
    session.ask()
    with_question = session.turn(calls=False)
    print(protocol.__name__, thinks, first, with_result, with_question)
    for turn in (with_result, with_question):
        assert turn.n_cached >= ENOUGH * turn.n_prompt
    # The answer is cached, too, up to its last token, which was never decoded.
    if not thinks:
        assert with_result.n_cached >= first.n_prompt + first.n_answer - 2
