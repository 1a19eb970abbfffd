from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

from models.hub import download
from models.hub.download import DownloadPlan, DownloadProgress, HubSettings
from models.hub.fetch import Retries
from models.paths import Paths
from models.reference import ModelRef
from tests.hub_server import HubServer

REF = ModelRef.parse("org/name")


WEIGHTS = "model.safetensors"


WEIGHTS_BYTES = 3_000_000


class Client:
    """A user of the Hub: folders and settings of its own."""

    def __init__(self, server: HubServer, home: Path) -> None:
        self.paths = Paths(home=home / "corral", hf_cache=home / "hf" / "hub")
        self.settings = HubSettings(
            endpoint=server.url,
            timeout_s=5,
            retries=Retries(failures=2, first_wait_s=0.01, longest_wait_s=0.1),
        )
        self.cancel = threading.Event()
        self.progress: list[DownloadProgress] = []

    def using(self, **changes: object) -> Client:
        self.settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]
        return self

    def plan(self, ref: ModelRef = REF, *include: str) -> DownloadPlan:
        return download.plan(ref, include, paths=self.paths, settings=self.settings)

    def run(self, plan: DownloadPlan) -> Path:
        return download.run(plan, self.progress.append, self.cancel, paths=self.paths, settings=self.settings)

    def pull(self, ref: ModelRef = REF) -> Path:
        return self.run(self.plan(ref))

    @property
    def partials(self) -> list[int]:
        return [path.stat().st_size for path in self.paths.hf_cache.rglob("*.incomplete")]


def same(snapshot: Path, folder: Path, *names: str) -> bool:
    return all((snapshot / name).read_bytes() == (folder / name).read_bytes() for name in names)
