"""The libraries: their packages, the script under `inside/` that each one runs, and what can't pass yet."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.agents import KEY, Command
from tests.clients.installing import CACHE, npm, pip
from tests.clients.isolation import ADDRESS, ClientRun

INSIDE = Path(__file__).parent / "inside"
EMBEDDER, RERANKER = "bert", "xlm-roberta-reranker"
"""The names of the servers' models for vectors and for scores: families of `tests/quantize/families`."""
UNDERSTANDING = "needs a model that understands what it is asked"


@dataclass(frozen=True)
class Library:
    """A library and its checks."""

    name: str
    packages: tuple[str, ...]
    script: str
    later: Mapping[str, str] = field(default_factory=dict)
    """The checks that can't pass yet, each with what it needs."""
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    """The cache folder, where several share one."""

    @property
    def version(self) -> str:
        """The version of the first package."""
        return self.packages[0].replace("==", "@").rpartition("@")[2]

    def needs(self, failed: Iterable[str]) -> str:
        """Return the names of checks that failed by what they need: what isn't served, or understanding."""
        by_need: dict[str, list[str]] = {}
        for name in failed:
            by_need.setdefault(self.later.get(name, UNDERSTANDING), []).append(name)
        return "; ".join(f"{', '.join(names)}: {need}" for need, names in by_need.items())

    def command(self, model: str) -> Command:
        """Install what is missing; return the command."""
        place = self.folder or self.name.replace(" ", "-").lower()
        env = {
            "SERVER_URL": ADDRESS,
            "SERVER_MODEL": model,
            "SERVER_KEY": KEY,
            "SERVER_EMBEDDER": EMBEDDER,
            "SERVER_RERANKER": RERANKER,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        env |= self.env
        if self.script.endswith(".mjs"):
            modules = npm(place, self.packages)
            return Command(["node", str(INSIDE / self.script)], {**env, "MODULES": str(modules)})
        python = pip(place, self.packages)
        if self.script == "home_assistant.py":
            env["COMPONENT"] = str(home_assistant_component())
        return Command([str(python), str(INSIDE / self.script)], env)


def home_assistant_component() -> Path:
    """Return Home Assistant's component alone, out of its wheel, which installs on Python 3.14 only."""
    folder = CACHE / "home-assistant-component"
    component = folder / "homeassistant/components/llama_cpp"
    if not component.exists():
        kind = (
            "--no-deps",
            "--only-binary=:all:",
            "--platform",
            "any",
            "--implementation",
            "py",
            "--abi",
            "none",
        )
        command = [sys.executable, "-m", "pip", "download", "-q", *kind, "--python-version", "3.14.2"]
        subprocess.run([*command, "-d", str(folder), HOME_ASSISTANT], check=True, capture_output=True)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if "/components/llama_cpp/" in name]
                archive.extractall(folder, names)
            wheel.unlink()
    return component


def outcomes_of(run: ClientRun) -> dict[str, str]:
    """Return each check's outcome, "ok" or the error: a script's last line; nothing if it printed none."""
    lines = run.stdout.strip().splitlines()
    try:
        found: dict[str, str] = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found


HOME_ASSISTANT = "homeassistant==2026.11.0"
_TESTS = (
    *("langchain-tests==1.1.9", "langchain==1.5.2"),
    *("pytest==9.2.0", "pytest-asyncio==1.5.0", "pytest-socket==0.8.1"),
)
_LANGCHAIN = ("langchain-openai==1.7.4", "langchain-anthropic==1.7.10", *_TESTS)


def _langchain(provider: str) -> Library:
    """LangChain's tests with one provider."""
    beyond = {"test_unicode_tool_call_integration": UNDERSTANDING}
    if provider in ("openai", "ollama"):
        beyond["test_json_mode"] = UNDERSTANDING
    script, env = "langchain_standard.py", {"PROVIDER": provider}
    if provider == "ollama":
        packages = ("langchain-ollama==1.1.0", *_TESTS)
        return Library(f"LangChain {provider}", packages, script, beyond, env, folder="langchain-ollama")
    return Library(f"LangChain {provider}", _LANGCHAIN, script, beyond, env, folder="langchain")


def _small(name: str, *packages: str, **more: Any) -> Library:
    return Library(name, packages, f"{name.replace('-', '_')}_checks.py", **more)


LIBRARIES = (
    Library("openai", ("openai==3.57.0",), "openai_checks.py"),
    Library("anthropic", ("anthropic==2.14.0",), "anthropic_checks.py"),
    Library("ollama", ("ollama==0.6.3",), "ollama_checks.py"),
    Library("js-openai", ("openai@7.59.0",), "openai_checks.mjs"),
    Library("js-anthropic", ("@anthropic-ai/sdk@1.14.0",), "anthropic_checks.mjs"),
    Library(
        "js-ai",
        ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92", "zod@4.6.7"),
        "ai_checks.mjs",
    ),
    Library("js-ollama", ("ollama@0.6.4",), "ollama_checks.mjs"),
    _langchain("openai"),
    _langchain("openai-responses"),
    _langchain("anthropic"),
    _langchain("ollama"),
    Library("pydantic-ai", ("pydantic-ai-slim[openai,anthropic]==2.68.0",), "pydantic_ai_checks.py"),
    Library("home-assistant", ("openai==3.26.0",), "home_assistant.py"),
    _small("instructor", "instructor==1.17.0"),
    _small(
        "litellm",
        "litellm==1.110.2",
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    _small("openai-agents", "openai-agents==0.24.0"),
    _small("huggingface-hub", "huggingface_hub==2.4.0", "pydantic==2.14.4"),
    _small("smolagents", "smolagents[openai]==1.26.0"),
    _small(
        "llama-index",
        "llama-index-llms-openai-like==0.8.1",
        "llama-index-embeddings-openai-like==0.4.0",
        "llama-index-embeddings-ollama==0.10.0",
    ),
)
