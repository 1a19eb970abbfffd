"""Every package of a client is pinned to one version, so that a run can be repeated."""

from __future__ import annotations

import re

import pytest

from tests.clients.agents import AGENTS
from tests.clients.libraries import HOME_ASSISTANT, LIBRARIES

PINNED = re.compile(r"@?[\w./-]+(\[[\w,]+\])?(==|@)\d+(\.\d+)+")
PACKAGES = {package for library in LIBRARIES for package in library.packages} | {HOME_ASSISTANT}
PACKAGES |= {f"{agent.package}@{agent.version}" for agent in AGENTS}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_version_is_exact(package: str) -> None:
    assert PINNED.fullmatch(package)


@pytest.mark.parametrize("package", ["zod", "openai@7", "langchain>=1.5", "@ai-sdk/x@latest"])
def test_others_are_noticed(package: str) -> None:
    assert not PINNED.fullmatch(package)
