"""Home Assistant's component for local models: its own api.py and entity.py, stand-ins for the rest.

The whole package needs a newer Python. COMPONENT is the folder of the unpacked component.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from unittest.mock import MagicMock

import openai
from checking import HI, KEY, MODEL, URL, check, main

FOREIGN = ("homeassistant", "probatio", "voluptuous", "voluptuous_openapi")


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Every module of the packages in FOREIGN is a mock."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FOREIGN:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module):
        """There is nothing to run."""


class HomeAssistantError(Exception):
    def __init__(self, *args, translation_key="", translation_placeholders=None, **kwargs):
        super().__init__(f"{translation_key}: {(translation_placeholders or {}).get('message', '')}")


sys.meta_path.insert(0, StandIns())
importlib.import_module("homeassistant.exceptions").HomeAssistantError = HomeAssistantError
importlib.import_module("homeassistant.helpers.entity").Entity = object
importlib.import_module("homeassistant.helpers.llm").ToolInput = lambda **given: given
builtins.LlamaCppConfigEntry = object  # an annotation that newer Pythons don't evaluate
component = types.ModuleType("component")
component.__path__ = [os.environ["COMPONENT"]]
sys.modules["component"] = component
api = importlib.import_module("component.api")
entity = importlib.import_module("component.entity")


def client():
    return openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=60)


async def read(**more):
    """Return what the component makes of a streamed answer."""
    made = await client().chat.completions.create(
        model=MODEL, top_p=1.0, temperature=1.0, user="conversation", stream=True, **more
    )
    return [delta async for delta in entity._transform_stream(made)]


@check
async def list_models():
    assert MODEL in await api.async_list_models(client())


@check
async def probe():
    await api.async_validate_completions(client(), MODEL, False)


@check
async def probe_streamed():
    await api.async_validate_completions(client(), MODEL, True)


@check
async def tool_call_streamed():
    domains = {"type": "array", "items": {"type": "string"}}
    parameters = {"type": "object", "properties": {"name": {"type": "string"}, "domain": domains}}
    tool = {"type": "function", "function": {"name": "HassTurnOn", "parameters": parameters}}
    seen = await read(messages=HI, tools=[tool], tool_choice="required", max_tokens=200)
    calls = [call for delta in seen for call in delta.get("tool_calls", [])]
    assert [call["tool_name"] for call in calls] == ["HassTurnOn"], seen
    assert isinstance(calls[0]["tool_args"], dict), seen


@check
async def text_streamed():
    seen = await read(messages=HI, max_tokens=8)
    assert seen[0].get("role") == "assistant", seen


main()
