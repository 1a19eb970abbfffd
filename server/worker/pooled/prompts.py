"""`TextPrompts`: the texts that a model wants before a query or a document, by its file. Pure.

Sentence-transformers' files have them, and our quantizer writes them into a GGUF:

    sentence_transformers.prompts.query            "query: "
    sentence_transformers.prompts.document         "passage: "
    sentence_transformers.default_prompt_name      "query"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import RequestError
from models.gguf.pooling import DEFAULT_PROMPT_KEY, PROMPT_PREFIX
from models.gguf.reader import GGUFArray, Scalar


@dataclass(frozen=True)
class TextPrompts:
    """A model's prompts by name."""

    by_name: Mapping[str, str]
    default: str = ""
    """The text before texts of which nothing is said."""

    @classmethod
    def of(cls, metadata: Mapping[str, Scalar | GGUFArray]) -> TextPrompts:
        """Return the prompts of a file's metadata."""
        by_name = {
            key.removeprefix(PROMPT_PREFIX): value
            for key, value in metadata.items()
            if key.startswith(PROMPT_PREFIX) and isinstance(value, str)
        }
        return cls(by_name, by_name.get(str(metadata.get(DEFAULT_PROMPT_KEY)), ""))

    def find(self, names: tuple[str, ...], *, must_be_there: bool) -> str:
        """Return the text of the first of `names` that the file has, or else its default one.

        Raises RequestError if it has none of them and `must_be_there`, or has others.
        """
        for name in names:
            if name in self.by_name:
                return self.by_name[name]
        if names and (must_be_there or self.by_name):
            known = ", ".join(map(repr, self.by_name)) or "none"
            raise RequestError(
                f"this model's file has no prompt called {names[0]!r}; it has {known}: name one of them,"
                " or leave the name out",
                param="prompt_name" if must_be_there else "input_type",
            )
        return self.default
