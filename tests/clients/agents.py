"""The coding agents: how each is installed, set up for a server and run without a terminal.

A driver writes what its client needs into an empty home and returns the command; `said` reads the words that
the client ends with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.clients.installing import npm, pip
from tests.clients.isolation import ADDRESS, ClientRun

KEY = "local"


@dataclass(frozen=True)
class Job:
    """One task for an agent: the model and its context, the folders, and the words."""

    model: str
    n_ctx: int
    home: Path
    work: Path

    @property
    def task(self) -> str:
        file = self.work / "greet.py"
        return f"Fix the typo in {file} so that test_greet.py passes, run test_greet.py, then say DONE."


@dataclass(frozen=True)
class Command:
    """A client's command line and environment."""

    argv: list[str]
    env: dict[str, str]


@dataclass(frozen=True)
class Agent:
    """A client: its package, and how it is started and read."""

    name: str
    package: str
    version: str
    route: str
    n_requests: int
    """The requests of the scripted task."""
    command: Callable[[Job], Command]
    said: Callable[[ClientRun], str]
    """Reads the client's last words."""

    @property
    def has_tools(self) -> bool:
        """Whether the model calls tools; else the task is one answer."""
        return self.n_requests > 1


def _json_lines(run: ClientRun) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


# --- Claude Code ----------------------------------------------------------------------------------

CLAUDE = ("@anthropic-ai/claude-code", "2.1.328")


def _claude(job: Job, *more: str) -> Command:
    binary = npm("claude-code", ["@".join(CLAUDE)]) / ".bin/claude"
    argv = [str(binary), "-p", job.task, "--output-format", "json", "--dangerously-skip-permissions", *more]
    env = {f"ANTHROPIC_DEFAULT_{size}_MODEL": job.model for size in ("OPUS", "SONNET", "HAIKU", "FABLE")}
    env |= {
        "ANTHROPIC_BASE_URL": ADDRESS,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        "ANTHROPIC_API_KEY": "",
        "ANTHROPIC_MODEL": job.model,
        "CLAUDE_CODE_SUBAGENT_MODEL": job.model,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(job.n_ctx),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(job.n_ctx // 8),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "IS_SANDBOX": "1",  # root may skip permissions
    }
    return Command(argv, env)


def _claude_said(run: ClientRun) -> str:
    return str(json.loads(run.stdout).get("result"))


# --- Codex ----------------------------------------------------------------------------------------

CODEX = ("@openai/codex", "0.171.0")
_CODEX_SETTINGS = """
model = {model}
model_provider = "local"
model_context_window = {n_ctx}
web_search = "disabled"
check_for_update_on_startup = false
[model_providers.local]
name = "local"
base_url = "http://127.0.0.1"
wire_api = "responses"
env_key = "LOCAL_KEY"
request_max_retries = 2
stream_max_retries = 2
[features]
plugins = false
apps = false
goals = false
[agents]
enabled = {agents}
[analytics]
enabled = false
"""


def _codex(job: Job, *, whole: bool = False) -> Command:
    script = npm("codex", ["@".join(CODEX)]) / "@openai/codex/bin/codex.js"
    settings = job.home / ".codex/config.toml"
    settings.parent.mkdir()
    text = _CODEX_SETTINGS.format(model=json.dumps(job.model), n_ctx=job.n_ctx, agents=str(whole).lower())
    settings.write_text(text.replace('web_search = "disabled"\n', "") if whole else text)
    argv = ["node", str(script), "exec", "--skip-git-repo-check", "--json"]
    argv += ["--dangerously-bypass-approvals-and-sandbox"]
    argv += ["-c", f'model_providers.local.base_url="{ADDRESS}/v1"', job.task]
    return Command(argv, {"LOCAL_KEY": KEY})


def _codex_said(run: ClientRun) -> str:
    items = [event["item"] for event in _json_lines(run) if event["type"] == "item.completed"]
    texts = [item["text"] for item in items if isinstance(item, dict) and item["type"] == "agent_message"]
    return str(texts[-1]) if texts else ""


# --- opencode -------------------------------------------------------------------------------------

OPENCODE = ("opencode-ai", "1.18.33")


def _opencode(job: Job) -> Command:
    binary = npm("opencode", ["@".join(OPENCODE)]) / ".bin/opencode"
    limit = {"context": job.n_ctx, "output": job.n_ctx // 8}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{ADDRESS}/v1", "apiKey": KEY},
        "models": {job.model: {"tool_call": True, "limit": limit}},
    }
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "permission": {"*": "allow"},
        "model": f"local/{job.model}",
        "small_model": f"local/{job.model}",
        "provider": {"local": provider},
    }
    off = ("MODELS_FETCH", "AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "SHARE", "CLAUDE_CODE")
    env = {f"OPENCODE_DISABLE_{name}": "1" for name in off}
    argv = [str(binary), "run", "--pure", "--title", "t", "--format", "json", job.task]
    return Command(argv, {"OPENCODE_CONFIG_CONTENT": json.dumps(settings), **env})


def _opencode_said(run: ClientRun) -> str:
    parts = [event["part"] for event in _json_lines(run) if event["type"] == "text"]
    texts = [part["text"] for part in parts if isinstance(part, dict)]
    return str(texts[-1]) if texts else ""


# --- pi -------------------------------------------------------------------------------------------

PI = ("@mariozechner/pi-coding-agent", "0.73.1")


def _pi(job: Job) -> Command:
    binary = npm("pi", ["@".join(PI)]) / ".bin/pi"
    folder = job.home / ".pi/agent"
    folder.mkdir(parents=True)
    model = {"id": job.model, "name": job.model, "contextWindow": job.n_ctx, "maxTokens": job.n_ctx // 8}
    provider = {"baseUrl": "@URL@/v1", "api": "openai-completions", "apiKey": KEY, "models": [model]}
    (folder / "models.in").write_text(json.dumps({"providers": {"local": provider}}))
    # The file knows no variables, so it is written when the address is known.
    script = f'sed "s|@URL@|$1|" {folder}/models.in > {folder}/models.json; shift; exec "$@"'
    argv = ["sh", "-c", script, "sh", ADDRESS, str(binary), "--provider", "local", "--model", job.model]
    env = {"PI_OFFLINE": "1", "PI_SKIP_VERSION_CHECK": "1", "PI_TELEMETRY": "0"}
    return Command([*argv, "--no-session", "-p", job.task], env)


def _last_words(run: ClientRun) -> str:
    return run.stdout.strip()[-500:]


# --- aider ----------------------------------------------------------------------------------------

AIDER = ("aider-chat", "0.86.2")


def _aider(job: Job) -> Command:
    python = pip("aider", ["==".join(AIDER)])
    argv = [str(python.parent / "aider"), "--model", f"openai/{job.model}", "--openai-api-key", KEY]
    argv += ["--openai-api-base", f"{ADDRESS}/v1", "--edit-format", "diff", "--map-tokens", "0"]
    off = (
        "check-update",
        "pretty",
        "show-model-warnings",
        "show-release-notes",
        "detect-urls",
        "auto-commits",
    )
    argv += ["--yes-always", "--analytics-disable", "--no-gitignore", *(f"--no-{name}" for name in off)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "AIDER_ANALYTICS": "false"}
    return Command([*argv, "--message", "Fix the typo", "greet.py"], env)


AGENTS = (
    Agent("opencode", *OPENCODE, "chat completions", 4, _opencode, _opencode_said),
    Agent("pi", *PI, "chat completions", 4, _pi, _last_words),
    Agent("Claude Code --bare", *CLAUDE, "messages", 4, lambda job: _claude(job, "--bare"), _claude_said),
    Agent("Claude Code", *CLAUDE, "messages", 4, _claude, _claude_said),
    Agent("Codex, four tools", *CODEX, "responses", 4, _codex, _codex_said),
    Agent("Codex", *CODEX, "responses", 4, lambda job: _codex(job, whole=True), _codex_said),
    Agent("aider", *AIDER, "chat completions", 1, _aider, _last_words),
)
