"""LoRA adapters through the supervisor: names, defaults, running workers and those that start again."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from pathlib import Path

import msgspec
import pytest

from models.adapter_reference import AdapterRef
from models.doctor.tiny_model import write_tiny_gguf
from models.errors import CheckpointError, ModelNotFound, RequestError, WorkerDied
from models.gguf.adapter_info import read_adapter_info
from models.gguf.info import read_gguf_info
from server.engine.events import Delta, Finish
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.metrics.origin import begin_origin
from server.supervisor.adapters.registry import AdapterRegistry
from server.supervisor.adapters.service import AdapterService, prepare_adapter
from server.supervisor.catalogue import CatalogueEntry
from server.supervisor.event_iterator import iterate
from server.supervisor.memory_advice import MemoryAdvice
from server.supervisor.memory_check import Need
from server.supervisor.supervisor import Supervisor
from tests.adapter_gguf import write_adapter_gguf
from tests.server.supervisor.conftest import MakeSupervisor, WriteScript, request


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("base") / "tiny.gguf")


class Setup:
    """A supervisor over scripted workers; adapters are checked against a tiny model's file."""

    def __init__(self, make: MakeSupervisor, entry: CatalogueEntry, tiny: Path, folder: Path) -> None:
        self.entry = entry
        self.folder = folder
        self.registry = AdapterRegistry()
        self.supervisor: Supervisor = make(entry, adapter_registry=self.registry)
        self.adapters = AdapterService(_Based(self.supervisor, tiny), self.registry)

    async def start(self) -> None:
        self.supervisor.start()
        await self.supervisor.wait_ready()

    async def add(self, name: str, scale: float = 0.0) -> int:
        path = write_adapter_gguf(self.folder / f"{name}.gguf")
        return (await self.adapters.add("one", str(path), name, scale)).id

    async def ask(self, model: str = "one", lora: tuple[tuple[int, float], ...] | None = None) -> None:
        asked = msgspec.structs.replace(request("tokens 1 0"), adapters=lora)
        events = [event async for event in iterate(self.supervisor.generate(model, asked))]
        assert isinstance(events[-1], Finish)

    def lines(self) -> list[str]:
        """Return the notes of the workers."""
        return lines_of(self.entry)


def lines_of(entry: CatalogueEntry) -> list[str]:
    path = Path(f"{entry.path}.adapters")
    return path.read_text().splitlines() if path.exists() else []


class _Based:
    """The supervisor, but for the base's file: a script is no GGUF."""

    def __init__(self, supervisor: Supervisor, tiny: Path) -> None:
        self._supervisor = supervisor
        self._tiny = tiny
        self.broadcast = supervisor.broadcast

    def base_of(self, name: str) -> CatalogueEntry:
        entry = self._supervisor.base_of(name)
        return CatalogueEntry(entry.name, self._tiny, entry.type, entry.size_bytes, entry.created)


@pytest.fixture
def setup(supervise: MakeSupervisor, script: WriteScript, tiny: Path, tmp_path: Path) -> Setup:
    return Setup(supervise, script(), tiny, tmp_path)


async def test_requests_get_what_they_choose(setup: Setup) -> None:
    await setup.start()
    await setup.ask()
    style, tone = await setup.add("style"), await setup.add("tone", 0.5)
    await setup.ask()
    await setup.ask("one:style")
    await setup.ask("one:Q8_0:style")
    await setup.ask("one:Q8_0")
    await setup.ask("one:tone", ((style, 2.0),))
    await setup.ask(lora=())
    setup.adapters.set_scales("one", {style: -1.0})
    await setup.ask()
    assert [line for line in setup.lines() if line.startswith("generate")] == [
        "generate ((1, 0.5),)",
        "generate ((0, 1.0),)",
        "generate ((0, 1.0),)",
        "generate ((1, 0.5),)",
        "generate ((0, 2.0),)",
        "generate ()",
        "generate ((0, -1.0),)",
    ]
    assert (style, tone) == (0, 1)


async def test_adapters_are_counted_before_a_model_is_loaded(
    supervise: MakeSupervisor, script: WriteScript, tiny: Path, tmp_path: Path
) -> None:
    asked: list[ModelSpec] = []

    async def need(spec: ModelSpec) -> Need:
        asked.append(spec)
        return Need()

    registry = AdapterRegistry()
    style = write_adapter_gguf(tmp_path / "style.gguf")
    info = read_adapter_info(style, read_gguf_info(tiny))
    registry.add("two", AdapterRef(style, "style"), info, 1, visible=True)
    supervisor: Supervisor = supervise(
        script("one"), stored=(script("two"),), memory=MemoryAdvice(need), adapter_registry=registry
    )
    supervisor.start()
    await supervisor.wait_ready()
    _ = [event async for event in iterate(supervisor.generate("two", request("tokens 1 0")))]
    assert [(spec.name, spec.adapters) for spec in asked] == [("two", (AdapterSpec(0, str(style)),))]


async def test_names(setup: Setup) -> None:
    await setup.start()
    await setup.add("style")
    found = setup.supervisor.find("one:style")
    assert (found.name, found.parent, found.state) == ("one:style", "one", "ready")
    assert setup.supervisor.find("one:Q8_0:style").parent == "one"
    assert [status.name for status in setup.supervisor.models()] == ["one"]
    for unknown in ("one:tone", "two:style", "one:style:Q8_0", ":style", "style"):
        with pytest.raises(ModelNotFound):
            setup.supervisor.find(unknown)


async def test_figures_name_the_adapters_of_requests(setup: Setup) -> None:
    """By the names in `/v1/models`, whatever a request named them by; none after the end."""
    await setup.start()
    assert not (await setup.supervisor.samples(5.0))[0].takes_adapters
    style, tone = await setup.add("style"), await setup.add("tone")
    assert (await setup.supervisor.samples(5.0))[0].takes_adapters
    load = setup.supervisor.figures.adapters
    seen: list[tuple[list[str], list[str]]] = []

    async def ask(model: str, lora: tuple[tuple[int, float], ...] | None = None) -> None:
        asked = msgspec.structs.replace(request("tokens 1 0"), adapters=lora)
        events = iterate(setup.supervisor.generate(model, asked))
        seen.extend([(load.running, load.waiting) async for event in events if isinstance(event, Delta)])

    await ask("one:Q8_0:style")
    await ask("one", ((style, 1.0), (tone, 0.5)))
    await ask("one")
    assert seen == [(["one:style"], []), (["one:style", "one:tone"], []), ([], [])]
    assert (load.running, load.waiting) == ([], [])


async def test_an_unknown_adapter_is_refused_before_anything_is_sent(setup: Setup) -> None:
    await setup.start()
    for _ in range(2):  # with nothing in the registry, and with something
        with pytest.raises(RequestError) as error:
            await setup.ask(lora=((7, 1.0),))
        assert error.value.param == "lora"
        await setup.add(f"style{_}")


async def test_workers_that_start_again_have_them(setup: Setup) -> None:
    await setup.start()
    await setup.add("first")
    await setup.add("second")
    await setup.adapters.remove(0)
    pid = setup.supervisor.pids["one:Q8_0"]
    with contextlib.suppress(WorkerDied):
        [event async for event in iterate(setup.supervisor.generate("one", request("die")))]
    await setup.ask()
    assert setup.supervisor.pids["one:Q8_0"] != pid
    assert setup.lines()[:6] == ["start []", "load 0", "load 0", "load 1", "load 1", "unload 0"]
    assert "start [1]" in setup.lines()


async def test_one_for_a_model_that_is_not_loaded(
    supervise: MakeSupervisor, script: WriteScript, tiny: Path, tmp_path: Path
) -> None:
    entry = script()
    registry = AdapterRegistry()
    supervisor = supervise(stored=(entry,), adapter_registry=registry)
    supervisor.start()
    adapters = AdapterService(_Based(supervisor, tiny), registry)
    await adapters.add("one", str(write_adapter_gguf(tmp_path / "style.gguf")), None, 1.0)
    [event async for event in iterate(supervisor.generate("one", request("tokens 1 0")))]
    assert lines_of(entry) == ["start [0]", "generate ((0, 1.0),)"]


async def test_one_that_the_worker_refuses_is_forgotten(setup: Setup) -> None:
    await setup.start()
    with pytest.raises(RequestError, match="no room"):
        await setup.add("refuse")
    assert setup.adapters.list() == []
    assert await setup.add("taken") == 1


async def test_one_that_the_worker_dies_of_costs_a_restart_and_no_more(setup: Setup) -> None:
    await setup.start()
    with pytest.raises(WorkerDied):
        await setup.add("die")
    assert setup.adapters.list() == []
    await setup.ask()
    assert setup.lines() == ["start []", "start []"]


async def test_one_that_is_loaded_while_the_model_loads(
    supervise: MakeSupervisor, script: WriteScript, tiny: Path, tmp_path: Path
) -> None:
    setup = Setup(supervise, script(load_s=0.3), tiny, tmp_path)
    setup.supervisor.start()
    await setup.add("style", 1.0)
    await setup.ask()
    assert setup.lines() == ["start []", "load 0", "load 0", "generate ((0, 1.0),)"]


async def test_two_of_one_name_at_the_same_time(setup: Setup) -> None:
    await setup.start()
    path = str(write_adapter_gguf(setup.folder / "style.gguf"))
    results = await asyncio.gather(
        *(setup.adapters.add("one", path, "style", 0.0) for _ in range(3)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["RegisteredAdapter"] + ["RequestError"] * 2
    assert len(setup.adapters.list("one:style")) == 1


@pytest.mark.parametrize(
    ("path", "name", "said", "param"),
    [
        ("none.gguf", None, "no adapter at", "path"),
        ("qwen.gguf", None, "'qwen2' and the model has 'llama'", "path"),
        ("peft", None, "only GGUF adapters can be loaded here", "path"),
        ("good.gguf", "a:b", "no name for an adapter", None),
        ("good.gguf", "Q4_K_M", "model in that type", None),
    ],
)
async def test_what_is_refused(
    path: str, name: str | None, said: str, param: str | None, setup: Setup
) -> None:
    (setup.folder / "peft").mkdir()
    (setup.folder / "peft" / "adapter_config.json").touch()
    write_adapter_gguf(setup.folder / "qwen.gguf", architecture="qwen2")
    write_adapter_gguf(setup.folder / "good.gguf")
    with pytest.raises(RequestError) as error:
        await setup.adapters.add("one", str(setup.folder / path), name, 0.0)
    assert said in error.value.message
    assert error.value.param == param
    with pytest.raises(ModelNotFound):
        await setup.adapters.add("none", str(setup.folder / "good.gguf"), None, 0.0)


@pytest.mark.parametrize("name", [None, "style", "a:b", "Q4_K_M"])
@pytest.mark.parametrize("scale", [0.0, math.inf])
async def test_an_answer_tells_nothing_of_which_paths_exist(
    name: str | None, scale: float, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    folder = setup.folder
    (folder / "text.txt").write_text("secret")
    (folder / "bad.gguf").write_text("secret, and long enough for a header")
    (folder / "locked.gguf").touch(mode=0)
    (folder / "empty").mkdir()
    (folder / "loop.gguf").symlink_to("loop.gguf")
    (folder / "link.gguf").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.gguf")
    write_tiny_gguf(folder / "model.gguf")
    answers = set()
    for path in ("none", "none.gguf", "none/", "text.txt", "bad.gguf", "locked.gguf", "empty",
                 "empty/none.gguf", "text.txt/none.gguf", "loop.gguf", "link.gguf", "pipe.gguf", "model.gguf",
                 "nul\0.gguf", "x" * 300 + ".gguf"):  # fmt: skip
        with pytest.raises(RequestError) as error:
            await setup.adapters.add("one", str(folder / path), name, scale)
        answers.add((error.value.message.replace(repr(str(folder / path))[:300], "PATH"), error.value.param))
    for path in ("~nobody-here/x.gguf", "/root/.ssh/x.gguf", "/proc/1/root/x.gguf", "/dev/zero"):
        with pytest.raises(RequestError) as error:
            await setup.adapters.add("one", path, name, scale)
        answers.add((error.value.message.replace(repr(path), "PATH"), error.value.param))
    by_path = {message for message, _ in answers if "PATH" in message}
    if name in (None, "style") and scale == 0.0:
        [(message, param)] = answers
        assert message.startswith("there is no adapter at PATH: ")
        assert param == "path"
        assert "general.type is None instead of 'adapter'" in caplog.text  # the operator is told more
    else:
        assert not by_path, "what is wrong with the rest of the request comes before a look at the disk"


def test_preparing_reports_the_converters_reason(tiny: Path, tmp_path: Path) -> None:
    from models.adapter_reference import AdapterRef

    def fails(path: Path, base: Path) -> Path:
        assert (path, base) == (tmp_path, tiny)
        raise CheckpointError("adapter_config.json has use_dora set")

    with pytest.raises(RequestError, match="use_dora") as error:
        prepare_adapter(AdapterRef(tmp_path, "x"), tiny, fails)
    assert error.value.param == "path"


async def test_prompts_with_other_adapters_have_another_key(setup: Setup) -> None:
    """It is told of the first prompt of a request, by the model that answers, whatever name was asked for."""
    await setup.start()
    await setup.add("style")
    keys = []
    for model in ("one", "one:Q8_0", "one:style"):
        origin = begin_origin("id", "/")
        await setup.ask(model)
        keys.append(origin.prefix_key)
        await setup.ask("one")  # another prompt of the same request
        assert origin.prefix_key == keys[-1]
    assert keys[0] == keys[1] != keys[2]
    assert all(keys)
