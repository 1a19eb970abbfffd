"""The demo model's files, and a server and llama.cpp itself on the same one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models.llamacpp.model import Model
from tests.e2e.running import environment, serving
from tests.lm_eval.direct import Direct
from tests.quantize.quantize_folder import quantize_folder

EXACT = ("--type-k", "f32", "--type-v", "f32", "--flash-attn", "off")


@dataclass(frozen=True, slots=True)
class Variant:
    """How a model is served: its type, whether with settings that round nowhere, and what may differ then.

    `bound`: the largest difference of the summed logprob of a continuation, in nats.
    """

    type: str
    exact: bool
    bound: float


VARIANTS = {
    "F32, F32 cache": Variant("F32", exact=True, bound=0.0001),
    "F32": Variant("F32", exact=False, bound=0.001),
    "Q4_K_M": Variant("Q4_K_M", exact=False, bound=0.5),
}


@dataclass(frozen=True, slots=True)
class Served:
    """One GGUF file twice: behind a server, and in this process."""

    name: str
    variant: Variant
    url: str
    model: str
    direct: Direct


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-evaluation-harness isn't installed here; run `make lm-eval`")
    folder = tmp_path_factory.mktemp("demo")
    types = sorted({variant.type for variant in VARIANTS.values()})
    return {file.type: file.path for file in quantize_folder("demo", types, folder)}


@pytest.fixture(scope="module", params=list(VARIANTS))
def served(
    request: pytest.FixtureRequest, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home, variant = tmp_path_factory.mktemp("home"), VARIANTS[request.param]
    path = files[variant.type]
    options = EXACT if variant.exact else ()
    with (
        Model.load(path) as model,
        serving(str(path), *options, env=environment(home), log=home / "serve.log") as server,
    ):
        (listed,) = httpx.get(f"{server.url}/v1/models").json()["data"]
        yield Served(request.param, variant, server.url, listed["id"], Direct(model, exact=variant.exact))
