"""A model that plays an agent's loop: from the text of a prompt to what it would answer. Pure.

A prompt of `chat_template` says which tools there are, what was asked, and how many results came back. With
an agent's tools the steps are: read the file, edit it, run its test, say DONE. Other tools are called once,
with made-up arguments; a schema is answered with a value of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.clients.made_up_values import made_up

WRONG, RIGHT = '"Helo, "', '"Hello, "'
"""The word of the workspace's file that is to be corrected, with its neighbours."""
DONE = "DONE"

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_FILE = re.compile(r"(/[\w./-]+)/greet\.py")
_SCHEMA_SENTENCE = "Answer with JSON that matches this JSON schema, and nothing else:\n"
_EDIT_BLOCK = f"""\
greet.py
```python
<<<<<<< SEARCH
    return {WRONG} + name
=======
    return {RIGHT} + name
>>>>>>> REPLACE
```
{DONE}"""

Call = tuple[str, dict[str, Any]]
"""A tool's name and the arguments."""


@dataclass(frozen=True)
class Conversation:
    """The facts that the script reads in a prompt."""

    tools: dict[str, dict[str, Any]]
    """Each tool's schema of arguments, by name, in the prompt's order."""
    folder: str
    """The workspace's folder, as the task names it."""
    n_results: int
    """Results of tools that came after the last question."""
    text: str
    """The texts of all turns but that with the tools."""
    schema: dict[str, Any] | None
    """The schema that the answer is told to follow."""

    @classmethod
    def of(cls, prompt: str) -> Conversation:
        """Read a prompt's text."""
        turns = [(match[1], match[2]) for match in _TURN.finditer(prompt)]
        tools: dict[str, dict[str, Any]] = {}
        for role, text in turns:
            if role == "tools":
                for line in text.splitlines():
                    if line.startswith("{"):
                        function = json.loads(line)["function"]
                        tools[function["name"]] = function.get("parameters") or {}
        spoken = [(role, text) for role, text in turns if role != "tools"]
        questions = [at for at, (role, text) in enumerate(spoken) if role == "user" and text.strip()]
        after = spoken[questions[-1] + 1 :] if questions else spoken
        text = "\n".join(text for _, text in spoken)
        found = [match[1] for match in _FILE.finditer(text)]
        return cls(
            tools=tools,
            folder=found[0] if found else ".",
            n_results=sum(role == "tool" for role, _ in after),
            text=text,
            schema=_schema_in(text),
        )


def answers(prompt: str) -> list[str]:
    """Return what the model would answer, best first: a grammar may forbid the first ones.

    An agent's step has one answer: a grammar that forbids it is in the wrong.
    """
    seen = Conversation.of(prompt)
    wanted = [_called([call]) for call in _calls(seen)]
    if seen.schema is not None:
        wanted.insert(0, json.dumps(made_up(seen.schema), ensure_ascii=False))
    said = _EDIT_BLOCK if "SEARCH/REPLACE" in seen.text and not seen.tools else f"It is {DONE}."
    own = _agent_of(seen)
    if own is not None:
        return wanted if seen.n_results < len(own) else [said]
    if seen.n_results:
        return [*[w for w in wanted if seen.schema is not None], said, *wanted]
    return [*wanted, said, '{"answer": "DONE"}']


def _called(calls: list[Call]) -> str:
    written = [json.dumps({"name": name, "arguments": given}, ensure_ascii=False) for name, given in calls]
    return "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in written)


def _calls(seen: Conversation) -> list[Call]:
    """Return the calls that the model would make now, best first."""
    own = _agent_of(seen)
    if own is not None:
        return own[seen.n_results : seen.n_results + 1]
    return [(name, made_up(schema)) for name, schema in seen.tools.items()]


def _agent_of(seen: Conversation) -> list[Call] | None:
    """Return the steps of the agent whose tools these are; None: they are nobody's."""
    file, test = f"{seen.folder}/greet.py", f"cd {seen.folder} && python3 test_greet.py"
    for needed, steps in _AGENTS.items():
        if all(tool in seen.tools and name in _properties(seen.tools[tool]) for tool, name in needed):
            ordered = steps(file, test)
            return [(name, _in_schema_order(seen.tools[name], given)) for name, given in ordered]
    return None


def _claude(file: str, test: str) -> list[Call]:
    edit = {"file_path": file, "old_string": WRONG, "new_string": RIGHT}
    run = {"command": test, "description": "Run the test"}
    return [("Read", {"file_path": file}), ("Edit", edit), ("Bash", run)]


def _codex(file: str, test: str) -> list[Call]:
    commands = (f"cat {file}", f"sed -i 's/Helo/Hello/' {file}", test)
    return [("exec_command", {"cmd": command}) for command in commands]


def _opencode(file: str, test: str) -> list[Call]:
    edit = {"filePath": file, "oldString": WRONG, "newString": RIGHT}
    run = {"command": test, "description": "Run the test"}
    return [("read", {"filePath": file}), ("edit", edit), ("bash", run)]


def _pi(file: str, test: str) -> list[Call]:
    edit = {"path": file, "edits": [{"oldText": WRONG, "newText": RIGHT}]}
    return [("read", {"path": file}), ("edit", edit), ("bash", {"command": test})]


_AGENTS: dict[tuple[tuple[str, str], ...], Callable[[str, str], list[Call]]] = {
    (("Read", "file_path"), ("Edit", "old_string"), ("Bash", "command")): _claude,
    (("exec_command", "cmd"),): _codex,
    (("read", "filePath"), ("edit", "oldString"), ("bash", "command")): _opencode,
    (("read", "path"), ("edit", "edits"), ("bash", "command")): _pi,
}
"""The steps of each agent, by tools and arguments of theirs that tell it from the others."""


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("properties") or {}
    return found


def _in_schema_order(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the schema has, in its order, as grammars allow them."""
    return {name: given[name] for name in _properties(schema) if name in given}


def _schema_in(text: str) -> dict[str, Any] | None:
    """Return the schema that a client has put on a line of its own, or else the one that the server tells."""
    for line in text.splitlines():
        if line.startswith("{") and '"properties"' in line:
            try:
                found: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return found
    at = text.rfind(_SCHEMA_SENTENCE)
    if at < 0:
        return None
    schema, _ = json.JSONDecoder().raw_decode(text, at + len(_SCHEMA_SENTENCE))
    return schema if isinstance(schema, dict) else {}
