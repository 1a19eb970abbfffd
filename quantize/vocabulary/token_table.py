"""The ids of a vocabulary's texts as transformers gives them: the model's own, then the added tokens.

Its tokenizers give a text one id: an added token whose text the model has already keeps the model's id. Other
added tokens are numbered on from the model's last one, in the order of the files, whatever ids the files
say. Where the model's own ids have gaps, and over a SentencePiece file, the files' ids are taken instead, as
far as no added token has them: there what transformers makes of them doesn't fit the embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from quantize.vocabulary.files import AddedToken, TokenizerFiles


@dataclass(frozen=True)
class TokenTable:
    """Texts and ids. `added` are the added tokens by id, `beyond` those that no row of the embedding has.

    `declared` are the ids that a file gives texts which have others, or none.
    """

    ids: Mapping[str, int]
    added: Mapping[int, AddedToken] = field(default_factory=dict)
    beyond: Mapping[int, AddedToken] = field(default_factory=dict)
    declared: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        files: TokenizerFiles,
        base: Mapping[str, int],
        n_vocab: int | None,
        *,
        as_declared: bool = False,
        special: AbstractSet[str] = frozenset(),
    ) -> TokenTable:
        """Number the tokens of all files after `base`, the model's own texts and ids.

        With `as_declared` the files' ids count, also where the model has another text there. `special` are
        texts of `base` that need no mark any more. Raises UnknownTokenizer: malformed files.
        """
        numbering = _Numbering(base, as_declared)
        for token in (*files.added_in_tokenizer(), *files.added_elsewhere()):
            numbering.add(token)
        numbering.mark(text for text in files.special_texts if text not in special)
        limit = 2**31 if n_vocab is None else n_vocab
        added = {token_id: token for token_id, token in numbering.added.items() if token_id < limit}
        beyond = {token_id: token for token_id, token in numbering.added.items() if token_id >= limit}
        ids = {text: token_id for text, token_id in numbering.ids.items() if token_id not in beyond}
        return cls(ids, added, beyond, numbering.declared)

    def with_twice(self, texts: Sequence[str]) -> TokenTable:
        """Return the table with the earlier places of texts that a list has twice among `declared`."""
        twice = {text: i for i, text in enumerate(texts) if self.ids.get(text, i) != i}
        return dataclasses.replace(self, declared={**self.declared, **twice})


def padding_text(token_id: int, taken: Container[str]) -> str:
    """Return the text of an id that no token has, another one than those that are taken."""
    text = f"[PAD{token_id}]"
    while text in taken:
        text = f"[{text}]"
    return text


class _Numbering:
    """The tokens so far."""

    def __init__(self, base: Mapping[str, int], as_declared: bool) -> None:
        self.ids = dict(base)
        self.added: dict[int, AddedToken] = {}
        self.declared: dict[str, int] = {}
        self._own = {token_id: text for text, token_id in base.items()}
        self._replaces = as_declared
        self._counts_on = not as_declared and len(base) == max(base.values(), default=-1) + 1
        self._next = max(base.values(), default=-1) + 1

    def add(self, token: AddedToken) -> None:
        if not token.content:
            return
        token_id = self.ids.get(token.content)
        if token_id is None:
            if self._replaces and token.id in self.added:
                self.declared[token.content] = int(token.id)
                return
            token_id = self._free_id(token.id)
            self.ids[token.content] = token_id
        if token.id not in (None, token_id):
            self.declared[token.content] = int(token.id)
        self.added[token_id] = AddedToken(token_id, token.content, token.special)
        self._next = max(self._next, token_id + 1)

    def mark(self, texts: Iterable[str]) -> None:
        """Make these special, and add those that aren't there."""
        for text in texts:
            self.add(AddedToken(None, text, special=True))

    def _free_id(self, declared: int | None) -> int:
        if declared is None or self._counts_on or declared in self.added:
            return self._next
        if declared in self._own:
            if not self._replaces:
                return self._next
            self.ids.pop(self._own.pop(declared), None)
        return declared
