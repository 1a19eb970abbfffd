"""The context of a model is told before it is loaded, and the worker keeps to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.memory_advice import MemoryAdvice
from server.supervisor.served_lengths import FileFacts, Lengths, ServedLengths, lengths_now
from tests.server.supervisor.conftest import MakeSupervisor, WriteScript, request, spec_of


def entry_of(path: Path) -> CatalogueEntry:
    return CatalogueEntry(name=path.stem, path=path, type=None, size_bytes=1, created=1)


async def test_each_file_is_decided_on_once(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def decide(specs: list[ModelSpec]) -> Lengths:
        asked.append([spec.name for spec in specs])
        return {spec.path: FileFacts(100 + len(asked)) for spec in specs if spec.name != "odd"}

    one, two, odd = (entry_of(tmp_path / name) for name in ("one", "two", "odd"))
    lengths = ServedLengths(spec_of, decide)
    assert lengths.of(one) is None
    for entries in ([one, odd], [one], [two, one]):
        lengths.note(entries)
        await lengths.settled()
    assert asked == [["one", "odd"], ["two"]]
    assert [lengths.of(entry) for entry in (one, two, odd)] == [FileFacts(101), FileFacts(102), None]


def test_files_that_cannot_be_judged_have_none(tmp_path: Path) -> None:
    good = write_tiny_gguf(tmp_path / "good.gguf", TinyModel(n_ctx_train=2048))
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no GGUF")
    specs = [
        ModelSpec(name=path.stem, path=str(path), options=ServeOptions(gpu_layers=0)) for path in (good, bad)
    ]
    assert lengths_now(specs) == {str(good): FileFacts(2048)}


def test_of_a_split_model_only_a_chosen_context_is_told(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "split.gguf", TinyModel(n_ctx_train=2048))
    servers = ("127.0.0.1:50052",)
    spec = ModelSpec(name="split", path=str(path), options=ServeOptions(split=servers))
    assert lengths_now([spec]) == {}
    chosen = ModelSpec(name="split", path=str(path), options=ServeOptions(split=servers, ctx=512))
    assert lengths_now([chosen]) == {str(path): FileFacts(512)}


def test_the_kind_is_told_by_header_and_settings(tmp_path: Path) -> None:
    text = write_tiny_gguf(tmp_path / "text.gguf")
    vectors = write_tiny_gguf(tmp_path / "vectors.gguf", TinyModel(pooling="last"))
    asked = write_tiny_gguf(tmp_path / "asked.gguf", TinyModel(seed=1))
    plain, mean = ServeOptions(gpu_layers=0), ServeOptions(gpu_layers=0, pooling="mean")
    specs = [
        ModelSpec(name=path.stem, path=str(path), options=options)
        for path, options in ((text, plain), (vectors, plain), (asked, mean))
    ]
    assert [told.kind for told in lengths_now(specs).values()] == ["text", "embedding", "embedding"]


async def test_a_supervisor_tells_it_before_and_after_the_load(
    supervise: MakeSupervisor, script: WriteScript
) -> None:
    served, stored = script("one"), script("two")
    told = {str(served.path): FileFacts(3000), str(stored.path): FileFacts(5000, "rerank")}
    supervisor = supervise(
        served,
        stored=(stored,),
        memory=MemoryAdvice(lengths=lambda specs: {spec.path: told[spec.path] for spec in specs}),
    )
    supervisor.start()
    await supervisor.wait_ready()
    assert {model.name: model.n_ctx for model in supervisor.models()} == {"one": 3000, "two": 5000}
    assert supervisor.find("two").info is None
    assert supervisor.find("two").kind == "rerank"

    class Ignore:
        def on_event(self, _event: object) -> None: ...

        async def drained(self) -> None: ...

    async with asyncio.timeout(20):
        await supervisor.generate("two", request("tokens 1 0")).subscribe(Ignore())
    info = supervisor.find("two").info
    assert info is not None
    assert info.n_ctx == supervisor.find("two").n_ctx == 5000
