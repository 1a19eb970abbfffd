"""LangChain's own standard tests over one of its providers, by pytest; prints outcomes as `checking` does."""

from __future__ import annotations

import json
import os
import sys

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

URL, MODEL, KEY = (os.environ[f"SERVER_{name}"] for name in ("URL", "MODEL", "KEY"))
PROVIDER = os.environ["PROVIDER"]
COMMON = {"model": MODEL, "api_key": KEY, "max_retries": 0, "timeout": 60}

if PROVIDER == "anthropic":
    from langchain_anthropic import ChatAnthropic as Chosen

    PARAMS = {**COMMON, "base_url": URL, "max_tokens": 1024}
elif PROVIDER == "ollama":
    from langchain_ollama import ChatOllama as Chosen
    from langchain_ollama import OllamaEmbeddings

    PARAMS = {"model": MODEL, "base_url": URL, "num_predict": 1024}
else:
    from langchain_openai import ChatOpenAI as Chosen

    PARAMS = {**COMMON, "base_url": f"{URL}/v1", "stream_usage": True}
    if PROVIDER == "openai-responses":
        PARAMS["use_responses_api"] = True


class TestStandard(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return Chosen

    @property
    def chat_model_params(self):
        return dict(PARAMS)

    @property
    def supports_image_inputs(self):
        return False

    @property
    def supports_json_mode(self):
        return PROVIDER in ("openai", "ollama")

    @property
    def has_tool_choice(self):
        return PROVIDER != "ollama"  # its protocol has none


if PROVIDER == "ollama":

    class TestVectors(EmbeddingsIntegrationTests):
        @property
        def embeddings_class(self):
            return OllamaEmbeddings

        @property
        def embedding_model_params(self):
            model = os.environ["SERVER_EMBEDDER"]
            return {"model": model, "base_url": URL, "validate_model_on_init": True}


class Outcomes:
    """Collects what became of each test."""

    def __init__(self) -> None:
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.outcomes[name] = str(report.longrepr.reprcrash.message)[:500]
        elif report.when == "call" and report.passed:
            self.outcomes.setdefault(name, "ok")


if __name__ == "__main__":
    seen = Outcomes()
    loop = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session")
    pytest.main(
        [__file__, "-q", "-p", "no:cacheprovider", "--tb=short", "-c", os.devnull, "--noconftest", *loop],
        plugins=[seen],
    )
    sys.stdout.write("\n" + json.dumps(seen.outcomes) + "\n")
