"""Claude Code: Anthropic's Messages, set up by its environment alone."""

from __future__ import annotations

from server.clients.client import Client, LighterMode, Setup, Target
from server.clients.shapes import messages, models

_FAMILIES = ("OPUS", "SONNET", "HAIKU", "FABLE")
"""It names its models by family, and asks one of them for titles and another for the work."""

_ELSEWHERE = (
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
)
"""These choose another provider, or another way to sign in."""


def set_up(target: Target) -> Setup:
    """Return its settings. It takes a million tokens of context for granted unless told."""
    return Setup(
        environment={
            "ANTHROPIC_BASE_URL": target.url,
            "ANTHROPIC_API_KEY": "",
            "ANTHROPIC_MODEL": target.model,
            **{f"ANTHROPIC_DEFAULT_{family}_MODEL": target.model for family in _FAMILIES},
            "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(target.context),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(target.max_output),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",  # a line that changes, before the whole prompt
            "CLAUDE_CODE_MAX_RETRIES": "3",  # it takes a wrong key for an outage, ten times, for minutes
        },
        key_variables=("ANTHROPIC_AUTH_TOKEN",),
        unset=_ELSEWHERE,
        folder_variable="CLAUDE_CONFIG_DIR",
    )


CLIENT = Client(
    title="Claude Code",
    program="claude",
    install="npm install -g @anthropic-ai/claude-code@2.1.328",
    least_context=24_576,
    context_reason="its first prompt alone has about 12,300",
    set_up=set_up,
    shapes=(models.SIGN_OF_LIFE, models.LISTING, *messages.ALL),
    lighter=LighterMode("--bare", 4096),
)
