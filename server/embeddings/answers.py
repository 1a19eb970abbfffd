"""`PooledAnswer`: the fold of a request's `Vectors`, as JSON in the form of its protocol. Pure."""

from __future__ import annotations

import math
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec

from models.errors import RequestError
from server.embeddings.form import AnswerForm
from server.embeddings.read import PooledPurpose
from server.engine.events import Event, Failure, Finish, Meaning, Timings, Usage, Vectors
from server.openai.errors import RequestFailed

MAX_NUMBERS = 16 << 20
"""An answer has at most so many numbers, 64 MiB of them."""

_PREFIXES: dict[PooledPurpose, str] = {"rerank": "rerank", "score": "score"}
_encode = msgspec.json.Encoder().encode


def new_answer_id(purpose: PooledPurpose) -> str:
    """Return a fresh id of an answer."""
    return f"{_PREFIXES.get(purpose, 'embd')}-{secrets.token_hex(15)}"


class PooledAnswer:
    """An `EventListener`: events in; one encoded answer out, when `usage` is there."""

    def __init__(self, answer_id: str, model: str, form: AnswerForm) -> None:
        self.usage: Usage | None = None
        self._timings: Timings | None = None
        self._begun_ns = time.monotonic_ns()
        self._id = answer_id
        self._model = model
        self._form = form
        self._data: list[bytes] = [b""] * form.n_answers
        self._width = 1
        self._n_numbers = 0
        self._meaning: Meaning = "vector"

    def on_event(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`, and RequestError when the answer gets too large."""
        match event:
            case Vectors():
                self._take(event)
            case Finish(usage=usage, timings=timings):
                self.usage, self._timings = usage, timings
            case Failure():
                raise RequestFailed(event)

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer's JSON. Only after `Finish`."""
        match self._form.protocol:
            case "unversioned" if self._meaning != "vector":
                return self._llama_server()
            case "openai" | "unversioned":
                return self._openai()
            case "llama_server":
                return self._llama_server()
            case "tei":
                return self._tei()
            case "rerank":
                return iter([_encode(self._rerank())])
            case "tei_rerank":
                return iter([_encode(self._ranks("score", "text"))])
            case "score":
                return iter([_encode(self._score_list())])
            case "ollama":
                return self._ollama()
            case "ollama_single":
                return iter([_encode({"embedding": self._numbers(0)})])

    def _take(self, event: Vectors) -> None:
        self._width, self._meaning = event.width, event.meaning
        self._n_numbers += len(event.data) // 4
        if self._n_numbers > MAX_NUMBERS:
            raise RequestError(
                f"the answer has more than {MAX_NUMBERS:,} numbers; send fewer texts at once, or ask for"
                " fewer dimensions",
                code="answer_too_large",
            )
        start, row_bytes = 0, 4 * event.width
        for index, n_rows in zip(event.indices, event.n_rows, strict=True):
            end = start + n_rows * row_bytes
            before = self._data[index]
            self._data[index] = before + event.data[start:end] if before else event.data[start:end]
            start = end

    # --- vectors -------------------------------------------------------------------------------------

    def _openai(self) -> Iterator[bytes]:
        yield b'{"object":"list","data":['
        for index in range(len(self._data)):
            comma = b"," if index else b""
            vector = self._base64(index) if self._form.base64 else _encode(self._numbers(index))
            yield b'%b{"object":"embedding","index":%d,"embedding":%b}' % (comma, index, vector)
        usage = {"prompt_tokens": self._n_tokens, "total_tokens": self._n_tokens}
        yield b'],"model":%b,"usage":%b}' % (_encode(self._model), _encode(usage))

    def _llama_server(self) -> Iterator[bytes]:
        """Yield a list of objects, each with a list of vectors: one, or one per token."""
        yield b"["
        for index in range(len(self._data)):
            comma = b"," if index else b""
            yield b'%b{"index":%d,"embedding":%b}' % (comma, index, _encode(self._rows(index)))
        yield b"]"

    def _tei(self) -> Iterator[bytes]:
        yield b"["
        for index in range(len(self._data)):
            rows = self._rows(index)
            yield b"%b%b" % (b"," if index else b"", _encode(rows if self._form.every_token else rows[0]))
        yield b"]"

    def _ollama(self) -> Iterator[bytes]:
        """Yield Ollama's object; its times are in nanoseconds."""
        assert self._timings is not None
        total_ns = time.monotonic_ns() - self._begun_ns
        computing_ns = int((self._timings.queue_ms + self._timings.prompt_ms) * 1e6)
        yield b'{"model":%b,"embeddings":[' % _encode(self._model)
        for index in range(len(self._data)):
            yield b"%b%b" % (b"," if index else b"", _encode(self._numbers(index)))
        yield b'],"total_duration":%d,"load_duration":%d,"prompt_eval_count":%d}' % (
            total_ns,
            max(total_ns - computing_ns, 0),
            self._n_tokens,
        )

    def _numbers(self, index: int) -> list[float]:
        numbers: list[Any] = memoryview(self._data[index]).cast("f").tolist()
        return numbers

    def _rows(self, index: int) -> list[list[float]]:
        numbers, width = self._numbers(index), self._width
        return [numbers[i : i + width] for i in range(0, len(numbers), width)]

    def _base64(self, index: int) -> bytes:
        return b'"%b"' % b64encode(self._data[index])

    # --- scores --------------------------------------------------------------------------------------

    def _rerank(self) -> dict[str, Any]:
        """Return what Jina's and Cohere's clients read: the one's `usage`, the other's `id` and `meta`."""
        n_tokens = self._n_tokens
        return {
            "id": self._id,
            "object": "list",
            "model": self._model,
            "results": self._ranks("relevance_score", "document"),
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": n_tokens},
            },
        }

    def _ranks(self, score_name: str, document_name: str) -> list[dict[str, Any]]:
        """Return the best answers, the best first; those of one score in their documents' order."""
        form = self._form
        scores = self._scores()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        ranks: list[dict[str, Any]] = []
        for index in order[: form.top_n]:
            rank: dict[str, Any] = {"index": index, score_name: scores[index]}
            if form.documents is not None:
                document = form.documents[index]
                is_jina = document_name == "document" and isinstance(document, str)
                rank[document_name] = {"text": document} if is_jina else document
            ranks.append(rank)
        return ranks

    def _score_list(self) -> dict[str, Any]:
        n_tokens = self._n_tokens
        entries = [{"index": i, "object": "score", "score": score} for i, score in enumerate(self._scores())]
        return {
            "id": self._id,
            "object": "list",
            "created": int(time.time()),
            "model": self._model,
            "data": entries,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens, "completion_tokens": 0},
        }

    def _scores(self) -> list[float]:
        numbers = [self._numbers(index)[0] for index in range(len(self._data))]
        return [score_of(number, self._meaning, raw=self._form.raw_scores) for number in numbers]

    @property
    def _n_tokens(self) -> int:
        assert self.usage is not None
        return self.usage.prompt_tokens


def score_of(number: float, meaning: Meaning, *, raw: bool) -> float:
    """Return a score as clients get it: from 0 to 1, or `raw`, as a head gives it.

    A probability's raw form is its logit; a cosine is one either way.
    """
    match meaning:
        case "logit" if not raw:
            return (
                1.0 / (1.0 + math.exp(-number))
                if number >= 0
                else math.exp(number) / (1.0 + math.exp(number))
            )
        case "probability" if raw:
            return math.log(max(number, 1e-38)) - math.log(max(1.0 - number, 1e-38))
    return number
