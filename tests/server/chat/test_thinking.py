from __future__ import annotations

from typing import Any

import pytest

from server.chat.thinking import Thinking, thinking_variables

OFF = {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled"}
ON = {"enable_thinking": True, "thinking": True, "thinking_mode": "enabled"}


@pytest.mark.parametrize(
    ("thinking", "variables"),
    [
        ({}, {}),
        ({"enabled": True}, ON),
        ({"enabled": False}, OFF),
        ({"effort": "low"}, {"reasoning_effort": "low", "thinking_effort": "low"}),
        ({"effort": "none"}, OFF),
        ({"budget_tokens": 0}, {**OFF, "thinking_budget": 0}),
        ({"budget_tokens": 0, "enabled": True}, {**ON, "thinking_budget": 0}),
        ({"budget_tokens": 50}, {"thinking_budget": 50}),
        ({"effort": "none", "enabled": True}, ON),
    ],
)
def test_the_variables_of_templates(thinking: dict[str, Any], variables: dict[str, Any]) -> None:
    assert thinking_variables(Thinking(**thinking)) == variables
