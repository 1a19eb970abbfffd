"""`PooledReader`: makes a client's `Pool` a `PooledRequest`: prompts before, tokens, lengths checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.errors import ContextLengthExceeded, RequestError
from models.gguf.reader import GGUFArray, Scalar
from models.llamacpp.vocab import Vocab
from models.pooling import Pooling
from server.ipc.messages import Pool
from server.worker.pooled.pairs import PairFormat, PairTemplate
from server.worker.pooled.prompts import TextPrompts
from server.worker.pooled.refusals import WRONG_KIND
from server.worker.pooled.request import PooledRequest

RERANK_TEMPLATE_KEY = "tokenizer.chat_template.rerank"
XLM_ARCHITECTURES = ("bert", "nomic-bert-moe", "jina-bert-v3")
"""Models with XLM-RoBERTa's tokenizer, if it is a unigram model: texts begin with `<s>` and have two ends
between them, also where a file doesn't say so, as one made of a SentencePiece model alone."""
COUNTED_LETTERS = 65_536
"""A longer text that doesn't fit isn't counted to its end."""

Text = str | tuple[str | int, ...]


class PooledReader:
    """Reads requests for one pooled model. Any thread."""

    def __init__(
        self,
        vocab: Vocab,
        pooling: Pooling,
        metadata: Mapping[str, Scalar | GGUFArray],
        *,
        n_ctx: int,
        width: int,
    ) -> None:
        """`width`: the numbers of a vector."""
        self.pooling = pooling
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._width = width
        self._prompts = TextPrompts.of(metadata)
        self._begin, self._end = vocab.added_tokens if vocab.type != "none" else ([], [])
        self._is_xlm = vocab.type == "ugm" and metadata.get("general.architecture") in XLM_ARCHITECTURES
        if self._is_xlm and not self._begin and vocab.bos is not None:
            self._begin = [vocab.bos]
        self._pair = self._pair_format()
        template = metadata.get(RERANK_TEMPLATE_KEY)
        self._template = PairTemplate(template, self._tokens_of) if isinstance(template, str) else None

    def read(self, message: Pool) -> PooledRequest:
        """Return the request for the engine. Raises RequestError, and ContextLengthExceeded for a text."""
        self._check(message)
        wants_rows = message.wants == "rows" or self.pooling.name == "none"
        pairs = message.inputs.pairs
        texts: list[list[int]]
        n_first: list[int] = []
        if pairs and self.pooling.name == "rank":
            joined = self._joined_pairs(message)
            texts, n_first = [tokens for tokens, _ in joined], [n for _, n in joined]
            pairs = ()
        else:
            prompt = self._prompt(message)
            texts = [self._text(message, i, text, prompt) for i, text in enumerate(message.inputs.texts)]
        return PooledRequest(
            id=message.id,
            texts=texts,
            n_first=n_first,
            pairs=pairs,
            wants_rows=wants_rows,
            dimensions=message.dimensions,
            norm=-1 if wants_rows else message.norm,
            priority=message.priority,
            owner=message.owner,
            timeout_s=message.timeout_s,
        )

    # --- what the model can do -----------------------------------------------------------------------

    def _check(self, message: Pool) -> None:
        name, pairs, wants = self.pooling.name, message.inputs.pairs, message.wants
        if name == "none" and (pairs or wants == "vectors"):
            raise RequestError(
                "this model is served with pooling 'none', a vector per token: send the texts to /embedding"
                " or serve the model with --pooling mean, cls or last"
            )
        if name == "rank" and not pairs and wants != "any":
            raise RequestError(
                "this model gives scores of texts, no vectors; send pairs of texts to /v1/rerank",
                param="model",
                code=WRONG_KIND,
            )
        if pairs and self.pooling.kind == "classification":
            raise RequestError(
                f"this model has {self.pooling.n_scores} labels, so no single score of a pair; only models"
                " with one score rerank"
            )
        if message.dimensions is not None and message.dimensions > self._width:
            raise RequestError(
                f"'dimensions' is {message.dimensions:,}; this model's vectors have {self._width:,} numbers;"
                " ask for at most as many",
                param="dimensions",
            )

    def _prompt(self, message: Pool) -> str:
        if message.prompt_text is not None:
            return message.prompt_text
        return self._prompts.find(message.prompts, must_be_there=message.must_have_prompt)

    # --- texts ---------------------------------------------------------------------------------------

    def _text(self, message: Pool, index: int, text: Text, prompt: str) -> list[int]:
        """Return the tokens of one text, not more than the context has."""
        limit = self._limit(message)
        begin: list[int] = []
        end: list[int] = []
        if isinstance(text, tuple) and not any(isinstance(part, str) for part in text):
            own = self._ids(message, index, text)
        else:
            if message.add_special:
                begin, end = self._begin, self._end
            whole = prompt + text if isinstance(text, str) else (prompt, *text)
            own = self._own_tokens(message, index, whole, None if message.cut == "start" else limit)
        n_tokens = len(begin) + len(own) + len(end)
        if n_tokens > limit:
            if message.cut is None:
                raise self._too_long(message, index, n_tokens)
            room = max(0, limit - len(begin) - len(end))
            own = own[:room] if message.cut == "end" else own[len(own) - room :]
        if not begin and not own and not end:
            raise RequestError(
                f"{self._place(message, index)} has no tokens; send at least one", param=message.param
            )
        return [*begin, *own, *end]

    def _own_tokens(self, message: Pool, index: int, text: Text, enough: int | None) -> list[int]:
        """Return a text's tokens without the special ones around it, of a long one maybe not all."""
        if isinstance(text, str):
            counted = enough if len(text) > COUNTED_LETTERS else None
            return self._vocab.tokenize(text, add_special=False, parse_special=True, enough=counted)
        tokens: list[int] = []
        for part in text:
            tokens += (
                self._own_tokens(message, index, part, None)
                if isinstance(part, str)
                else self._ids(message, index, (part,))
            )
        return tokens

    def _ids(self, message: Pool, index: int, ids: Sequence[str | int]) -> list[int]:
        n_vocab = self._vocab.n_tokens
        for token in ids:
            if not isinstance(token, int) or not 0 <= token < n_vocab:
                raise RequestError(
                    f"{self._place(message, index)} has the token id {token}; this model's ids go from 0 to"
                    f" {n_vocab - 1:,}",
                    param=message.param,
                )
        return [token for token in ids if isinstance(token, int)]

    def _tokens_of(self, text: str) -> list[int]:
        return self._vocab.tokenize(text, add_special=False, parse_special=True)

    # --- pairs ---------------------------------------------------------------------------------------

    def _pair_format(self) -> PairFormat:
        vocab = self._vocab
        between = list(self._end)
        doubles = vocab.type != "wpm" and (vocab.add_sep or self._is_xlm)
        if doubles or not between:
            separator = vocab.sep if vocab.sep is not None else vocab.eos
            between += [] if separator is None else [separator]
        return PairFormat(tuple(self._begin), tuple(between), tuple(self._end))

    def _joined_pairs(self, message: Pool) -> list[tuple[list[int], int]]:
        """Return each pair's tokens, and the number of those before its second text."""
        texts = message.inputs.texts
        if self._template is not None:
            found = [self._by_template(message, self._template, a, b) for a, b in message.inputs.pairs]
            return [(tokens, len(tokens)) for tokens in found]
        tokens = [self._own_tokens(message, i, text, None) for i, text in enumerate(texts)]
        limit = self._limit(message)
        joined = []
        for a, b in message.inputs.pairs:
            first, second = tokens[a], tokens[b]
            n_tokens = len(first) + len(second) + self._pair.n_tokens
            if n_tokens > limit:
                if message.cut is None:
                    raise self._too_long(message, b, n_tokens)
                first, second = shortest_pair(first, second, max(0, limit - self._pair.n_tokens))
            joined.append(self._pair.joined(first, second))
        return joined

    def _by_template(self, message: Pool, template: PairTemplate, a: int, b: int) -> list[int]:
        """Return a pair in the file's own form; a document that is too long loses its end, if it may."""
        query, document = message.inputs.texts[a], message.inputs.texts[b]
        if not isinstance(query, str) or not isinstance(document, str):
            raise RequestError(
                "this model's pairs are made of strings, not of token ids", param=message.param
            )
        tokens = template.tokens(query, document)
        limit = self._limit(message)
        while len(tokens) > limit:
            if message.cut is None:
                raise self._too_long(message, b, len(tokens))
            own = self._tokens_of(document)
            kept = len(own) - (len(tokens) - limit)
            if kept <= 0:
                raise self._too_long(message, a, len(tokens))
            document = self._vocab.detokenize(own[:kept], special=True).decode("utf-8", "ignore")
            tokens = template.tokens(query, document)
        return tokens

    # --- limits --------------------------------------------------------------------------------------

    def _limit(self, message: Pool) -> int:
        if message.cut is None or message.max_tokens is None:
            return self._n_ctx
        return min(self._n_ctx, message.max_tokens)

    def _place(self, message: Pool, index: int) -> str:
        return f"'{message.param}[{index}]'" if len(message.inputs.texts) > 1 else f"'{message.param}'"

    def _too_long(self, message: Pool, index: int, n_tokens: int) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"This model's maximum context length is {self._n_ctx} tokens. However,"
            f" {self._place(message, index)} is too large: it has at least {n_tokens} tokens. Please"
            " shorten it, or send 'truncate': true to have its end left out.",
            param=message.param,
        )


def shortest_pair(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Return two texts that fit `room` together: the longer one loses its end, token by token.

    So transformers do it ("longest_first").
    """
    n_first, n_second = len(first), len(second)
    over = n_first + n_second - room
    if over <= 0:
        return first, second
    from_longer = min(over, abs(n_first - n_second))
    if n_first > n_second:
        n_first -= from_longer
    else:
        n_second -= from_longer
    over -= from_longer
    n_first -= over // 2
    n_second -= over - over // 2
    return first[:n_first], second[:n_second]
