"""The libraries: their packages, the script under `inside/` that each one runs, and what isn't served yet."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.agents import KEY, Command
from tests.clients.installing import CACHE, npm, pip
from tests.clients.isolation import ADDRESS

INSIDE = Path(__file__).parent / "inside"
NO_ROUTE_YET = "needs a route that isn't served yet, or a model that understands"
"""The reason for a check of embeddings, reranking, Ollama's own API, or of what a script can't know."""


@dataclass(frozen=True)
class Library:
    """A library and its checks. `later` are those that fail for `NO_ROUTE_YET`."""

    name: str
    packages: tuple[str, ...]
    script: str
    later: frozenset[str] = frozenset()
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    """The cache folder, where several share one."""

    @property
    def version(self) -> str:
        """The version of the first package."""
        return self.packages[0].replace("==", "@").rpartition("@")[2]

    def command(self, model: str) -> Command:
        """Install what is missing; return the command."""
        place = self.folder or self.name.replace(" ", "-").lower()
        env = {
            "SERVER_URL": ADDRESS,
            "SERVER_MODEL": model,
            "SERVER_KEY": KEY,
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


HOME_ASSISTANT = "homeassistant==2026.11.0"
_LANGCHAIN = (
    *("langchain-openai==1.7.4", "langchain-anthropic==1.7.10", "langchain-tests==1.1.9", "langchain"),
    *("pytest", "pytest-asyncio", "pytest-socket"),
)


def _langchain(provider: str) -> Library:
    """LangChain's tests with one provider; two of them need a model that understands what it is asked."""
    beyond = {"test_unicode_tool_call_integration"}
    if provider == "openai":
        beyond.add("test_json_mode")
    env = {"PROVIDER": provider}
    return Library(
        f"LangChain {provider}",
        _LANGCHAIN,
        "langchain_standard.py",
        frozenset(beyond),
        env,
        folder="langchain",
    )


def _small(name: str, *packages: str, later: frozenset[str] = frozenset(), **env: str) -> Library:
    script = f"{name.replace('-', '_')}_checks.py"
    return Library(name, packages, script, later, env)


LIBRARIES = (
    Library("openai", ("openai==3.57.0",), "openai_checks.py", frozenset({"embeddings"})),
    Library("anthropic", ("anthropic==2.14.0",), "anthropic_checks.py"),
    Library("js-openai", ("openai@7",), "openai_checks.mjs", frozenset({"embeddings"})),
    Library("js-anthropic", ("@anthropic-ai/sdk@1",), "anthropic_checks.mjs"),
    Library("js-ai", ("ai@7", "@ai-sdk/openai-compatible@3", "zod"), "ai_checks.mjs", frozenset({"embed"})),
    _langchain("openai"),
    _langchain("openai-responses"),
    _langchain("anthropic"),
    Library("pydantic-ai", ("pydantic-ai-slim[openai,anthropic]==2.68.0",), "pydantic_ai_checks.py"),
    Library("home-assistant", ("openai==3.26.0",), "home_assistant.py"),
    _small("instructor", "instructor==1.17.0"),
    _small(
        "litellm",
        "litellm==1.110.2",
        later=frozenset({"embedding", "rerank", "ollama_chat_route"}),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    ),
    _small("openai-agents", "openai-agents==0.24.0"),
    _small("huggingface-hub", "huggingface_hub==2.4.0", "pydantic"),
    _small("smolagents", "smolagents[openai]==1.26.0"),
    _small("llama-index", "llama-index-llms-openai-like==0.8.1"),
)
