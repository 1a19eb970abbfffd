"""`SchemaRewriter`: a client's schema as one that llguidance holds, or the refusal by name. Pure.

llguidance ignores nothing that it knows, but it resolves few references, proves little of `oneOf`, and has no
`if`, `not` or `contains`. So a schema is written anew with the keywords that it holds. Where those can't say
all that a schema allows they say less, never more: a text that follows the rewritten schema follows the
client's.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from models.errors import RequestError
from server.worker.constraints.schema import arrays, objects, scalars
from server.worker.constraints.schema.bounded_numbers import BoundedNumbers
from server.worker.constraints.schema.disjoint import are_disjoint
from server.worker.constraints.schema.endings import check_endings
from server.worker.constraints.schema.limits import MAX_DEPTH, MAX_ENUM, MAX_NODES, Place
from server.worker.constraints.schema.multiples import check_multiples
from server.worker.constraints.schema.negation import negated
from server.worker.constraints.schema.references import KEYWORDS, Node, References
from server.worker.constraints.schema.values import TYPES, check_value

_FLAT_DEPTH = 12
"""A subschema this deep becomes a definition of its own: llguidance reads JSON of bounded depth."""
_APPLICATORS = frozenset({*KEYWORDS, "allOf", "anyOf", "oneOf", "not", "if"})


class SchemaRewriter:
    """Rewrites one schema document. `visited` has every subschema that was reached."""

    def __init__(
        self, document: Any, place: Place, *, relaxed: bool = False, loose: frozenset[str] = frozenset()
    ) -> None:
        """With `relaxed`, keywords that can't be held are left out and named in `left_out`. Subschemas at
        `loose` places keep only their type."""
        self.references = References(document, place)
        self.visited: list[Node] = []
        self.left_out: list[str] = []
        self._relaxed = relaxed
        self._loose = loose
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}
        self._bounded_numbers = BoundedNumbers(self._definitions)
        self._pending: list[tuple[str, Node, int]] = []
        self._n_values = 0

    def document(self) -> dict[str, Any]:
        """Return the whole schema rewritten. Raises RequestError naming keyword and path."""
        return self.from_node(self.references.root)

    def from_node(self, node: Node) -> dict[str, Any]:
        """Return the subschema as a document of its own."""
        body = self.rewrite(node)
        while self._pending:
            name, target, depth = self._pending.pop()
            self._definitions[name] = self._body(target, 0, depth)
        document = {} if body is True else body
        if isinstance(document, dict) and self._definitions:
            document = {**document, "$defs": self._definitions}
        try:
            if document is False:
                node.place.refuse("no value matches it")
            check_endings(document, node.place)
        except RequestError:
            if not self._relaxed:
                raise
            self.left_out.append(node.place.text)
            return self._type_alone(node)
        return document

    def _type_alone(self, node: Node) -> dict[str, Any]:
        """Return what of a subschema is held if nothing else can be: its type."""
        job = Rewriting(self, node, 0, 0)
        self._keep(job, scalars.types)
        return job.plain

    def rewrite(self, node: Node, depth: int = 0, nesting: int = 0) -> Any:
        """Return the subschema rewritten; `depth` counts in its document, `nesting` in the client's."""
        if nesting > MAX_DEPTH:
            node.place.refuse(f"it is nested deeper than {MAX_DEPTH} schemas; name parts with $defs and $ref")
        if depth >= _FLAT_DEPTH and isinstance(node.schema, dict):
            return self._reference(node, nesting)
        return self._body(node, depth, nesting)

    def attempt(self, place: Place, problem: str) -> None:
        """Leave the keyword at `place` out, or refuse it."""
        if not self._relaxed:
            place.refuse(problem)
        self.left_out.append(place.text)

    def _body(self, node: Node, depth: int, nesting: int) -> Any:
        self.visited.append(node)
        if len(self.visited) > MAX_NODES:
            node.place.refuse(f"the schema has more than {MAX_NODES:,} subschemas; make it smaller")
        if isinstance(node.schema, bool):
            return node.schema
        if not isinstance(node.schema, dict):
            node.place.refuse("a schema is an object, true or false")
        job = Rewriting(self, node, depth, nesting)
        if node.place.text in self._loose:
            self._keep(job, scalars.types)
            self.left_out.append(node.place.text)
            return job.plain
        for part in (scalars.types, self._values, scalars.strings, scalars.numbers):
            self._keep(job, part)
        for part in (arrays.arrays, objects.objects, self._combinations, self._conditions):
            self._keep(job, part)
        return self._bounded_numbers.bounded(job.result())

    def _keep(self, job: Rewriting, part: Any) -> None:
        """Run a part of the work; relaxed, what it refuses is left out."""
        if not self._relaxed:
            part(job)
            return
        plain, more = dict(job.plain), list(job.more)
        try:
            part(job)
        except RequestError as error:
            job.plain, job.more = plain, more
            self.left_out.append(error.param or job.node.place.text)

    def _reference(self, target: Node, nesting: int) -> dict[str, str]:
        name = self._names.get(target.place.text)
        if name is None:
            name = self._names[target.place.text] = f"s{len(self._names)}"
            self._pending.append((name, target, nesting))
        return {"$ref": f"#/$defs/{name}"}

    def _values(self, job: Rewriting) -> None:
        schema, place = job.node.schema, job.node.place
        for keyword in ("const", "enum"):
            if keyword not in schema:
                continue
            values = [schema["const"]] if keyword == "const" else schema["enum"]
            if not isinstance(values, list) or not values:
                place.at(keyword).refuse("it must be a list with at least one value")
            self._n_values += len(values)
            if self._n_values > MAX_ENUM:
                place.at(keyword).refuse(f"the schema has more than {MAX_ENUM:,} values; use a pattern")
            check_value(schema[keyword], place.at(keyword))
            job.plain[keyword] = schema[keyword]

    def _combinations(self, job: Rewriting) -> None:
        node, references = job.node, self.references
        for keyword in KEYWORDS:
            if keyword in node.schema:
                target = references.target(node, keyword)
                job.more.append(
                    target.schema if isinstance(target.schema, bool) else self._reference(target, 0)
                )
        for keyword in ("allOf", "anyOf", "oneOf"):
            if keyword not in node.schema:
                continue
            members = node.schema[keyword]
            if not isinstance(members, list) or not members:
                node.place.at(keyword).refuse("it must be a list with at least one schema")
            nodes = [node.child(keyword, index) for index in range(len(members))]
            if keyword == "allOf":
                check_multiples(node, references)
                job.more += [job.rewrite(member) for member in nodes]
            elif keyword == "anyOf":
                job.more.append({"anyOf": [job.rewrite(member) for member in nodes]})
            else:
                job.more.append({"anyOf": self._exclusive(job, nodes)})

    def _exclusive(self, job: Rewriting, nodes: list[Node]) -> list[Any]:
        """Return options of which no value matches two that say what `oneOf` of these says."""
        others: dict[int, list[Node]] = {}
        if len(nodes) > 200:
            job.node.place.at("oneOf").refuse("it has more than 200 schemas; use anyOf")
        for (i, one), (j, other) in combinations(enumerate(nodes), 2):
            if not are_disjoint(one, other, self.references):
                others.setdefault(i, []).append(other)
                others.setdefault(j, []).append(one)
        options: list[Any] = []
        for index, node in enumerate(nodes):
            try:
                without = [negated(other, self.references) for other in others.get(index, [])]
            except RequestError as error:
                problem = "a value could match two of its schemas, and their opposite can't be written down"
                raise RequestError(
                    f"'{job.node.place.at('oneOf').text}' can't be held: {problem} ({error.param}); use "
                    "anyOf, or a property with a different 'const' in each",
                    param=job.node.place.at("oneOf").text,
                    code="unsupported_schema",
                ) from error
            parts = [job.rewrite(node), *(job.rewrite_written(schema, node) for schema in without)]
            options.append({"allOf": parts} if without else parts[0])
        return options

    def _conditions(self, job: Rewriting) -> None:
        node, schema = job.node, job.node.schema
        if "not" in schema:
            opposite = negated(node.child("not"), self.references)
            job.more.append(job.rewrite_written(opposite, node.child("not")))
        if "if" not in schema or not ("then" in schema or "else" in schema):
            return
        condition = node.child("if")
        yes = [job.rewrite(condition), *([job.rewrite(node.child("then"))] if "then" in schema else [])]
        no = [job.rewrite_written(negated(condition, self.references), condition)]
        no += [job.rewrite(node.child("else"))] if "else" in schema else []
        job.more.append({"anyOf": [{"allOf": yes}, {"allOf": no}]})


class Rewriting:
    """One subschema at work: `plain` keywords, and `more` schemas that hold beside them."""

    def __init__(self, rewriter: SchemaRewriter, node: Node, depth: int, nesting: int) -> None:
        self.rewriter = rewriter
        self.node = node
        self.plain: dict[str, Any] = {}
        self.more: list[Any] = []
        self._depth = depth
        self._nesting = nesting

    def rewrite(self, child: Node) -> Any:
        """Return a subschema of this one rewritten."""
        return self.rewriter.rewrite(child, self._depth + 1, self._nesting + 1)

    def rewrite_written(self, schema: Any, origin: Node) -> Any:
        """Return a schema that was written here for `origin`, rewritten."""
        return self.rewriter.rewrite(
            Node(schema, origin.base, origin.place), self._depth + 1, self._nesting + 1
        )

    def other_types(self, name: str) -> list[Any]:
        """Return schemas of all values of other types than `name`: its keywords don't concern them."""
        allowed = self.plain.get("type", list(TYPES))
        others = [kind for kind in ([allowed] if isinstance(allowed, str) else allowed) if kind != name]
        return [{"type": others}] if others else []

    def result(self) -> Any:
        """Return the rewritten subschema; combinations that come first stay first, as properties' order."""
        if False in self.more:
            return False
        more = [schema for schema in self.more if schema not in (True, {})]
        if not more:
            return self.plain
        if not self.plain and len(more) == 1:
            return more[0]
        combined = more[0] if len(more) == 1 else {"allOf": more}
        keys = list(self.node.schema)
        first = min((keys.index(key) for key in keys if key in _APPLICATORS), default=len(keys))
        if "properties" in keys and first < keys.index("properties"):
            return {"allOf": [combined, self.plain]}
        if isinstance(combined, dict) and not combined.keys() & self.plain.keys():
            return {**self.plain, **combined}
        return {**self.plain, "allOf": [combined]}
