from __future__ import annotations

from pathlib import Path

import pytest

from models.adapter_reference import AdapterRef
from models.errors import AdapterNotFound, RequestError
from models.gguf.adapter_info import AdapterInfo
from server.ipc.model_spec import AdapterSpec
from server.supervisor.adapters.registry import AdapterRegistry, RegisteredAdapter


def put(
    registry: AdapterRegistry, name: str, scale: float = 1.0, *, model: str = "base", visible: bool = True
) -> RegisteredAdapter:
    file = Path(f"/made/{name}.gguf")
    info = AdapterInfo(file, 100, None, "llama", 8.0, 4, ("blk.0.attn_q.weight",), ())
    return registry.add(model, AdapterRef(Path("/peft") / name, name, scale), info, 7, visible=visible)


@pytest.fixture
def registry() -> AdapterRegistry:
    made = AdapterRegistry()
    put(made, "on")
    put(made, "half", 0.5)
    put(made, "off", 0.0)
    put(made, "else", model="other")
    return made


def test_ids_count_up_and_are_never_used_twice(registry: AdapterRegistry) -> None:
    assert [adapter.id for adapter in registry.all()] == [0, 1, 2, 3]
    registry.remove(3)
    assert put(registry, "else", model="other").id == 4
    assert [adapter.full_name for adapter in registry.all("other")] == ["other:else"]


def test_a_request_that_chooses_nothing_gets_what_is_on(registry: AdapterRegistry) -> None:
    assert registry.select("base", None, None) == ((0, 1.0), (1, 0.5))
    assert registry.select("other", None, None) == ((3, 1.0),)
    assert registry.select("third", None, None) == ()


@pytest.mark.parametrize(("name", "chosen"), [("on", (0, 1.0)), ("half", (1, 0.5)), ("off", (2, 1.0))])
def test_by_its_name_it_comes_alone_and_never_with_nothing(
    name: str, chosen: tuple[int, float], registry: AdapterRegistry
) -> None:
    assert registry.select("base", registry.find("base", name), None) == (chosen,)


def test_a_list_replaces_everything(registry: AdapterRegistry) -> None:
    assert registry.select("base", None, ()) == ()
    assert registry.select("base", registry.find("base", "on"), ((2, -3.0),)) == ((2, -3.0),)


@pytest.mark.parametrize("adapter_id", [3, 9])
def test_a_list_names_adapters_of_the_model(adapter_id: int, registry: AdapterRegistry) -> None:
    with pytest.raises(RequestError) as error:
        registry.select("base", None, ((0, 1.0), (adapter_id, 1.0)))
    assert error.value.param == "lora"
    assert f"no LoRA adapter {adapter_id}; it has 0 (on), 1 (half), 2 (off)" in error.value.message


def test_one_that_is_not_visible_yet_is_nobodys(registry: AdapterRegistry) -> None:
    hidden = put(registry, "hidden", visible=False)
    assert hidden.id not in [adapter.id for adapter in registry.all()]
    assert registry.find("base", "hidden") is None
    assert hidden.id not in [spec.id for spec in registry.specs("base")]
    with pytest.raises(RequestError):
        registry.select("base", None, ((hidden.id, 1.0),))
    with pytest.raises(RequestError, match="has an adapter hidden already"):
        put(registry, "hidden")
    registry.show(hidden.id)
    assert registry.get(hidden.id).visible
    assert registry.specs("base")[-1] == AdapterSpec(hidden.id, "/made/hidden.gguf")


def test_names_belong_to_one_model(registry: AdapterRegistry) -> None:
    put(registry, "on", model="other")
    with pytest.raises(RequestError) as error:
        put(registry, "on")
    assert error.value.param == "name"


def test_new_defaults(registry: AdapterRegistry) -> None:
    registry.set_scales("base", {1: 2.0, 2: 0.25})
    assert registry.select("base", None, None) == ((1, 2.0), (2, 0.25))
    assert registry.select("other", None, None) == ((3, 1.0),)
    for unknown in (3, 9):
        with pytest.raises(RequestError):
            registry.set_scales("base", {unknown: 1.0})
    assert registry.select("base", None, None) == ((1, 2.0), (2, 0.25)), "a refused change changes nothing"


def test_removal(registry: AdapterRegistry) -> None:
    registry.remove(0)
    registry.remove(0)
    assert registry.select("base", None, None) == ((1, 0.5),)
    with pytest.raises(AdapterNotFound, match="there is no LoRA adapter 0"):
        registry.get(0)
    assert [spec.id for spec in registry.specs("base")] == [1, 2]
