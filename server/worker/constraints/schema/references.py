"""`References`: what `$ref`, `$dynamicRef` and `$recursiveRef` of one schema document lead to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from server.worker.constraints.schema.limits import MAX_NODES, Place

PLACE = "corral:"
"""An `$id` that begins so says where the client sent the schema, which is a part of a larger one here."""
_MAX_SCAN_DEPTH = 100

KEYWORDS = ("$ref", "$dynamicRef", "$recursiveRef")
_DATA = frozenset({"const", "enum", "default", "examples", "example"})


@dataclass(frozen=True, slots=True)
class Node:
    """A subschema, the URI that its references are relative to, and where it is."""

    schema: Any
    base: str
    place: Place

    def child(self, *steps: str | int) -> Node:
        """Return the subschema at these steps below; it must be there."""
        schema, base, place = self.schema, self.base, self.place
        for step in steps:
            schema, place = schema[step], place.at(step)
            base = base_of(schema, base)
            if isinstance(schema, dict) and str(schema.get("$id", "")).startswith(PLACE):
                place = Place(schema["$id"].removeprefix(PLACE))
        return Node(schema, base, place)


def base_of(schema: Any, base: str) -> str:
    """Return the base URI inside of `schema`, which its `$id` may change."""
    own = schema.get("$id", schema.get("id")) if isinstance(schema, dict) else None
    if isinstance(own, str) and not own.startswith("#"):
        return urldefrag(urljoin(base, own)).url
    return base


class References:
    """The resources and anchors of one document; nothing is fetched from anywhere."""

    def __init__(self, document: Any, place: Place) -> None:
        self._resources: dict[str, Node] = {}
        self._anchors: dict[tuple[str, str], Node] = {}
        self._dynamic: dict[str, list[Node]] = {}
        self._n_scanned = 0
        self.root = Node(document, base_of(document, ""), place)
        self._resources[""] = self._resources[self.root.base] = self.root
        self._scan(self.root, 0)

    def target(self, node: Node, keyword: str) -> Node:
        """Return what the reference of `node` leads to. Raises RequestError if it isn't there."""
        place, reference = node.place.at(keyword), node.schema[keyword]
        if not isinstance(reference, str):
            place.refuse("it must be a string")
        if keyword == "$dynamicRef":
            found = self._dynamic.get(urldefrag(reference).fragment, [])
            if len(found) > 1:
                place.refuse("several subschemas have this $dynamicAnchor; use $ref")
            if found:
                return found[0]
        if keyword == "$recursiveRef" and reference != "#":
            place.refuse("it can only be '#'")
        uri, fragment = urldefrag(urljoin(node.base, reference))
        resource = self._resources.get(uri if reference[:1] != "#" else node.base)
        if resource is None:
            place.refuse(
                f"{reference!r} is outside of the schema, and nothing is fetched; put it into '$defs'"
            )
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            anchor = self._anchors.get((resource.base, fragment))
            if anchor is None:
                place.refuse(f"there is no $anchor {fragment!r}")
            return anchor
        return self._pointed(resource, fragment, place, reference)

    def _pointed(self, resource: Node, pointer: str, place: Place, reference: str) -> Node:
        node = resource
        for step in pointer.split("/")[1:]:
            key: str | int = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node.schema, list) and str(key).isdigit():
                key = int(key)
            try:
                node = node.child(key)
            except (KeyError, IndexError, TypeError):
                place.refuse(f"{reference!r} leads to nothing in the schema")
        if not isinstance(node.schema, dict | bool):
            place.refuse(f"{reference!r} doesn't lead to a schema")
        return node

    def _scan(self, node: Node, depth: int) -> None:
        self._n_scanned += 1
        if depth > _MAX_SCAN_DEPTH or self._n_scanned > 20 * MAX_NODES:
            node.place.refuse("the schema is too deep or too large; make it smaller")
        schema = node.schema
        if isinstance(schema, list):
            children: list[str | int] = list(range(len(schema)))
        elif isinstance(schema, dict):
            self._note(node)
            children = [key for key in schema if key not in _DATA]
        else:
            return
        for key in children:
            if isinstance(schema[key], dict | list):
                self._scan(node.child(key), depth + 1)

    def _note(self, node: Node) -> None:
        schema = node.schema
        if isinstance(schema.get("$id", schema.get("id")), str):
            self._resources.setdefault(node.base, node)
            own = str(schema.get("$id", schema.get("id")))
            if own.startswith("#"):
                self._anchors.setdefault((node.base, own[1:]), node)
        for keyword in ("$anchor", "$dynamicAnchor"):
            name = schema.get(keyword)
            if isinstance(name, str):
                self._anchors.setdefault((node.base, name), node)
        dynamic = schema.get("$dynamicAnchor")
        if isinstance(dynamic, str):
            self._dynamic.setdefault(dynamic, []).append(node)
