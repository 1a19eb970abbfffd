"""Real chat templates with tools: their prompts are those of the golden file, and nothing gets lost."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server.chat import jinja_environment
from server.chat.templates import ChatTemplate
from tests.server.chat.tool_chats import CHATS, TOOL

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
GOLDEN = Path(__file__).parent / "golden" / "tool_templates.json"
NOT_CALLED = {"tools", "system"}

pytestmark = pytest.mark.skipif(
    not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources"
)


class _Noon(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> _Noon:
        return cls(2024, 7, 26, 12, tzinfo=tz)


def prompts(path: Path) -> dict[str, Any]:
    template = ChatTemplate(path.read_text(), bos_token="<s>", eos_token="</s>")
    return {name: template.prompt(chat, tools=[TOOL]) for name, chat in CHATS.items()}


def test_prompts_with_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions, calls, results and contents are in every prompt, which is the golden file's."""
    monkeypatch.setattr(jinja_environment, "datetime", _Noon)
    found: dict[str, Any] = {}
    for path in sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja")):
        made = prompts(path)
        for name, prompt in made.items():
            where = (path.stem, name)
            assert "get_weather" in prompt.text, where
            assert "A city." in prompt.text, where
            assert ("31 deg" in prompt.text) == (name not in NOT_CALLED), where
            assert ("Oslo" in prompt.text) == (name not in NOT_CALLED), where
            assert ("I look." in prompt.text) == (name == "content beside a call"), where
            assert ("Bern" in prompt.text) == (name in ("two calls", "a user after a result")), where
        one = made["tools"]
        found[path.stem] = {
            "generic": sorted(name for name, prompt in made.items() if prompt.is_generic),
            "thoughts": one.thoughts and list(one.thoughts),
            "thinks": one.thinks,
            "closing": one.closing,
            "sha256": {name: hashlib.sha256(p.text.encode()).hexdigest()[:16] for name, p in made.items()},
        }
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
