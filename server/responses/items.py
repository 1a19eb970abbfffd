"""Items of the Responses API as a chat's messages: `messages_of`. Pure.

An assistant's turn is one message: its reasoning, its text and its calls, in items that follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import RequestError
from server.chat.history import call
from server.chat.images import ChatImages
from server.responses.content import text_of, unsealed
from server.responses.tools import flat_name

SKIPPED = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""Items of tools that other servers run: the model is told nothing of them, and the answer has a warning."""

_ROLES = ("system", "developer", "user", "assistant")


def item_type(item: dict[str, Any]) -> Any:
    """Return the type of an item, which messages may leave out."""
    return item.get("type", "message" if "role" in item else None)


def check_numbers(value: Any, param: str) -> None:
    """Raise RequestError for a whole number that no message to a worker can carry, in the field `param`."""
    level = [value]
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, int) and not -(1 << 63) <= each < 1 << 64:
                raise RequestError(
                    f"'{param}' has a whole number of more than 64 bits; send it as a string", param=param
                )
            if isinstance(each, dict | list):
                inner += each.values() if isinstance(each, dict) else each
        level = inner


def messages_of(
    items: Sequence[dict[str, Any]],
    n_known: int = 0,
    *,
    known_as: str = "previous_response_id",
    given_as: str = "input",
    complete: bool = True,
    images: ChatImages | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the messages of items, and warnings of what was left out.

    The first `n_known` items come from the store by the field `known_as`, the others from the request's
    `given_as`, by whose index errors are named. With `complete`, each call must have its result. `images`
    takes the images; None: there may be none.
    Raises RequestError for what is malformed, and for calls and results that don't match.
    """
    chat = _Chat(images)
    for i, item in enumerate(items):
        path = f"{given_as}[{i - n_known}]" if i >= n_known else known_as
        chat.add(item, path)
    return chat.end(complete=complete), chat.warnings


class _Chat:
    """Messages so far, and the assistant's turn that isn't complete yet."""

    def __init__(self, images: ChatImages | None) -> None:
        self._images = images
        self.warnings: list[str] = []
        self._messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None
        self._names: dict[str, str] = {}
        """The function that each call has called."""
        self._unanswered: dict[str, str] = {}
        """The place of each call without a result so far."""

    def add(self, item: dict[str, Any], path: str) -> None:
        kind = item_type(item)
        match kind:
            case "message":
                self._message(item, path)
            case "reasoning":
                self._reasoning(item, path)
            case "function_call" | "custom_tool_call":
                self._call(item, path, custom=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                self._output(item, path)
            case str() if kind in SKIPPED:
                self.warnings.append(f"{path} is left out: this server doesn't know items of type '{kind}'")
            case _:
                raise RequestError(
                    f"Invalid value for '{path}.type': must be 'message', 'reasoning', 'function_call', "
                    "'function_call_output', 'custom_tool_call(_output)' or 'item_reference'",
                    param=f"{path}.type",
                    code="invalid_value",
                )

    def end(self, *, complete: bool) -> list[dict[str, Any]]:
        """Return the messages. Raises RequestError for a call without a result, if all must have one."""
        self._end_turn()
        if not complete:
            return self._messages
        for call_id, path in self._unanswered.items():
            raise RequestError(
                f"No tool output found for function call {call_id[:80]}; send its 'function_call_output'",
                param=path if path.startswith("input[") else "input",
            )
        return self._messages

    def _message(self, item: dict[str, Any], path: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise RequestError(
                f"Invalid value for '{path}.role': must be one of {', '.join(_ROLES)}",
                param=f"{path}.role",
                code="invalid_value",
            )
        content = item.get("content")
        if content is None and role != "assistant":
            raise RequestError(
                f"Missing required parameter: '{path}.content'",
                param=f"{path}.content",
                code="missing_required_parameter",
            )
        text = text_of(content, f"{path}.content", self._images if role == "user" else None)
        if role != "assistant":
            self._end_turn()
            self._messages.append({"role": role, "content": text})
            return
        turn = self._turn
        if turn is not None and turn["content"] and "tool_calls" not in turn:
            self._end_turn()
        turn = self._open_turn()
        turn["content"] = "\n".join(part for part in (turn["content"], text) if part)

    def _reasoning(self, item: dict[str, Any], path: str) -> None:
        """Keep the thoughts for the message that follows. A summary stands for thoughts that aren't there."""
        if self._turn is not None and (self._turn["content"] or "tool_calls" in self._turn):
            self._end_turn()
        text = text_of(item.get("content"), f"{path}.content")
        text = (
            text or unsealed(item.get("encrypted_content")) or text_of(item.get("summary"), f"{path}.summary")
        )
        if text:
            turn = self._open_turn()
            so_far = turn.get("reasoning_content")
            turn["reasoning_content"] = text if so_far is None else f"{so_far}\n{text}"

    def _call(self, item: dict[str, Any], path: str, *, custom: bool) -> None:
        if item.get("status") == "incomplete":
            return  # the token limit has cut it, and nobody has called it
        call_id, name = _string(item, "call_id", path), _string(item, "name", path)
        namespace = item.get("namespace")
        if namespace is not None and not isinstance(namespace, str):
            raise _not_a_string(f"{path}.namespace")
        name = flat_name(name, namespace)
        if call_id in self._names:
            raise RequestError(
                f"'{path}.call_id' is {call_id[:80]!r} for a second time", param=f"{path}.call_id"
            )
        field = "input" if custom else "arguments"
        text = _string(item, field, path, empty=True)
        made = call(call_id, name, {"input": text} if custom else text, f"{path}.{field}")
        self._open_turn().setdefault("tool_calls", []).append(made)
        self._names[call_id] = name
        self._unanswered[call_id] = path

    def _output(self, item: dict[str, Any], path: str) -> None:
        call_id = _string(item, "call_id", path)
        if self._unanswered.pop(call_id, None) is None:
            known = call_id in self._names
            why = "has its output already" if known else "is none of the calls before it"
            raise RequestError(
                f"No tool call found for function call output with call_id {call_id[:80]}: it {why}; send "
                "the 'function_call' before its output, or 'previous_response_id'",
                param=f"{path}.call_id",
            )
        if item.get("output") is None:
            raise RequestError(
                f"Missing required parameter: '{path}.output'",
                param=f"{path}.output",
                code="missing_required_parameter",
            )
        text = text_of(item["output"], f"{path}.output", self._images)
        self._end_turn()
        self._messages.append(
            {"role": "tool", "content": text, "tool_call_id": call_id, "name": self._names[call_id]}
        )

    def _open_turn(self) -> dict[str, Any]:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": ""}
        return self._turn

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._messages.append(self._turn)
            self._turn = None


def _string(item: dict[str, Any], field: str, path: str, *, empty: bool = False) -> str:
    value = item.get(field)
    if value is None:
        raise RequestError(
            f"Missing required parameter: '{path}.{field}'",
            param=f"{path}.{field}",
            code="missing_required_parameter",
        )
    if not isinstance(value, str):
        raise _not_a_string(f"{path}.{field}")
    if not value and not empty:
        raise RequestError(f"Invalid value for '{path}.{field}': must not be empty", param=f"{path}.{field}")
    return value


def _not_a_string(param: str) -> RequestError:
    return RequestError(f"Invalid value for '{param}': must be a string", param=param, code="invalid_value")
