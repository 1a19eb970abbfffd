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
from server.worker.constraints.schema.disjoint import are_disjoint, listed_values
from server.worker.constraints.schema.endings import ending_fault
from server.worker.constraints.schema.fraction import fraction_ranges, is_fraction
from server.worker.constraints.schema.limits import MAX_DEPTH, MAX_ENUM, MAX_NODES, Place
from server.worker.constraints.schema.multiples import check_multiples
from server.worker.constraints.schema.negation import negated
from server.worker.constraints.schema.references import KEYWORDS, Node, References
from server.worker.constraints.schema.values import TYPES, check_value, same

_FLAT_DEPTH = 12
"""A subschema this deep becomes a definition of its own: llguidance reads JSON of bounded depth."""
_MAX_FAULTS = 8
"""Relaxed, so many parts that can't be finished are left out before all but the type is."""
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
        self._begin()

    def _begin(self) -> None:
        """Forget what was written."""
        self.visited.clear()
        self._names: dict[tuple[str, int], str] = {}
        self._places: dict[int, tuple[Any, Place]] = {}
        """The places of rewritten schemas by their identity, which lasts as long as they do."""
        self._written: list[Node] = []
        """All that have a name, so that no other gets the identity of one that has gone."""
        self._definitions: dict[str, Any] = {}
        self._bounded_numbers = BoundedNumbers(self._definitions)
        self._pending: list[tuple[str, Node, int]] = []
        self._n_values = 0

    def document(self) -> dict[str, Any]:
        """Return the whole schema rewritten. Raises RequestError naming keyword and path."""
        return self.from_node(self.references.root)

    def from_node(self, node: Node) -> dict[str, Any]:
        """Return the subschema as a document of its own."""
        for _ in range(_MAX_FAULTS):
            document = self._document(node)
            fault = ending_fault(document, node.place, self._place_of)
            if fault is None:
                return document
            if not self._relaxed:
                place = fault.place if fault.keyword is None else fault.place.at(fault.keyword)
                place.refuse(fault.problem)
            if fault.place.text in self._loose:
                break
            self._loose |= {fault.place.text}
        self.left_out.append(node.place.text)
        return self._type_alone(node)

    def _document(self, node: Node) -> dict[str, Any]:
        self._begin()
        body = self.rewrite(node)
        while self._pending:
            name, target, depth = self._pending.pop()
            self._definitions[name] = self._body(target, 0, depth)
        document = {"anyOf": [body]} if isinstance(body, bool) else body
        return {**document, "$defs": self._definitions} if self._definitions else document

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
        if is_fraction(node.schema):
            self._definitions["fraction"] = fraction_ranges()
            return {"$ref": "#/$defs/fraction"}
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
        rewritten = self._bounded_numbers.bounded(job.result())
        if isinstance(rewritten, dict):
            self._places.setdefault(id(rewritten), (rewritten, node.place))
        return rewritten

    def _place_of(self, rewritten: Any) -> Place | None:
        """Return where the client sent a schema that was rewritten here."""
        known = self._places.get(id(rewritten))
        return None if known is None else known[1]

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
        key = (
            target.place.text,
            id(target.schema),
        )  # a schema that was written here has the place of another
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"s{len(self._names)}"
            self._written.append(target)
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
        options = [self._alone(job, node, others.get(index, [])) for index, node in enumerate(nodes)]
        if not any(options):
            job.node.place.at("oneOf").refuse(
                "each value that matches one of its schemas matches another of them, too; use anyOf"
            )
        return options

    def _alone(self, job: Rewriting, node: Node, others: list[Node]) -> Any:
        """Return the schema of what matches `node`, a member of `oneOf`, and none of the others."""
        values = listed_values(node)
        if values is not None:
            known = [(other, listed_values(other)) for other in others]
            for _, excluded in known:
                values = [value for value in values if not any(same(value, one) for one in excluded or ())]
            others = [other for other, excluded in known if excluded is None]
            if not values:
                return False
        try:
            opposites = [negated(other, self.references) for other in others]
        except RequestError as error:
            place = job.node.place.at("oneOf")
            problem = "a value could match two of its schemas, and their opposite can't be written down"
            raise RequestError(
                f"'{place.text}' can't be held: {problem} ({error.param}); use anyOf, or a property with a "
                "different 'const' in each",
                param=place.text,
                code="unsupported_schema",
            ) from error
        if False in opposites:
            return False
        own = job.rewrite(node) if values is None else job.rewrite_written({"enum": values}, node)
        parts = [own, *(job.rewrite_written(schema, node) for schema in opposites)]
        return {"allOf": parts} if opposites else own

    def _without_values(self, job: Rewriting, excluded: Node) -> bool:
        """Take the values that `not` lists from those that `enum` has; False: one of them lists none."""
        values, own = listed_values(excluded), job.plain.get("enum")
        if values is None or own is None:
            return False
        left = [value for value in own if not any(same(value, one) for one in values)]
        if not left:
            excluded.place.refuse("it excludes each value of 'enum'; leave one")
        job.plain["enum"] = left
        return True

    def _conditions(self, job: Rewriting) -> None:
        node, schema = job.node, job.node.schema
        if "not" in schema and not self._without_values(job, node.child("not")):
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
            Node(schema, origin.base, origin.place.whole()), self._depth + 1, self._nesting + 1
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
