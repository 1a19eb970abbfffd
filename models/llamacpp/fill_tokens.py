"""`FillTokens`: the special tokens with which a model fills in the middle of a text."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import RequestError
from models.llamacpp import library
from models.llamacpp.vocab import Vocab

_SUFFIX_FIRST = {
    "[PREFIX]": ("[SUFFIX]", None),  # Codestral: the answer follows the prefix, without a mark
    "<[fim-prefix]>": ("<[fim-suffix]>", "<[fim-middle]>"),  # Seed-Coder
}
"""The names of the tokens before a prefix, before a suffix and before the answer, of models that were taught
the suffix before the prefix. llama.cpp doesn't look for them."""


@dataclass(frozen=True, slots=True)
class FillTokens:
    """The marks of a prompt that is to be filled in. `middle` is None where the answer needs no mark."""

    prefix: int
    suffix: int
    middle: int | None
    repository: int | None = None
    """The name of a repository follows this one, if the model knows repositories."""
    file: int | None = None
    """The name of a file follows this one, and its text."""
    suffix_first: bool = False
    """The model was taught the suffix before the prefix."""

    @property
    def all(self) -> frozenset[int]:
        """Every one of these tokens."""
        found = (self.prefix, self.suffix, self.middle, self.repository, self.file)
        return frozenset(token for token in found if token is not None)


def fill_tokens(vocab: Vocab, param: str) -> FillTokens:
    """Return the tokens that the file names, or llama.cpp or we know by their names.

    Raises RequestError, about `param`, for a model that can't fill in.
    """
    names = {name: token for token, name in vocab.hidden_tokens.items()} if vocab.type != "none" else {}
    found = {role: _token(vocab, role) for role in ("pre", "suf", "mid", "rep", "sep")}
    spelled = (
        "" if found["pre"] is None else vocab.piece(found["pre"], special=True).decode("utf-8", "replace")
    )
    suffix_first = spelled in _SUFFIX_FIRST
    needs_middle = True
    for prefix, (suffix, middle) in _SUFFIX_FIRST.items():
        if spelled == prefix or (found["pre"] is None and {prefix, suffix} <= names.keys()):
            suffix_first, needs_middle = True, middle is not None
            found["pre"] = names.get(prefix, found["pre"])
            found["suf"] = names.get(suffix, found["suf"])
            found["mid"] = None if middle is None else names.get(middle, found["mid"])
            break
    missing = [
        name
        for name, role in (("prefix", "pre"), ("suffix", "suf"), ("middle", "mid"))
        if found[role] is None and (role != "mid" or needs_middle)
    ]
    if found["pre"] is None or found["suf"] is None or missing:
        raise RequestError(
            f"this model can't fill in the middle of a text: its vocabulary has no {_listed(missing)} token "
            "(tokenizer.ggml.fim_pre_token_id, fim_suf_token_id, fim_mid_token_id); use a model that was "
            "trained for it, such as a coder's base model",
            param=param,
            code="unsupported_model",
        )
    return FillTokens(found["pre"], found["suf"], found["mid"], found["rep"], found["sep"], suffix_first)


def _token(vocab: Vocab, role: str) -> int | None:
    token = int(getattr(library.load(), f"llama_vocab_fim_{role}")(vocab.pointer))
    return token if 0 <= token < vocab.n_tokens else None


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
