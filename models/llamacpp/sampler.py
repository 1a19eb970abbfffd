"""SamplerChain: llama.cpp's chain of samplers (llama_sampler), which picks a token from logits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.closing import Closing
from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.dry_samplers import DrySettings
from models.llamacpp.vocab import Vocab

if TYPE_CHECKING:
    from models.llamacpp.context import Context

_RANDOM_SEED = 0xFFFFFFFF
"""LLAMA_DEFAULT_SEED tells llama.cpp to draw a seed; other seeds are folded into those below it."""
_MIN_KEEP = 0
"""Tokens that a truncation must leave besides the likeliest one, in llama.cpp's own default."""
_MIROSTAT_M = 100
"""Tokens from which mirostat 1 estimates the distribution's exponent: llama.cpp's own default."""

TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data, one candidate."""


def look_back(last_n: int, n_ctx: int) -> int:
    """Return how many tokens to look back: -1 is the context, and no sequence has more than that."""
    return n_ctx if last_n < 0 else min(last_n, n_ctx)


@dataclass(frozen=True)
class Candidates:
    """The tokens that a chain left of a row: ids [n] i32, probabilities [n] f32, and the one it picked."""

    ids: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    selected: int


class SamplerChain(Closing):
    """Owns one chain until `close`. It has a state (random numbers, recent tokens), so one sequence each.

    It is empty at first; each `add_` method appends one of llama.cpp's samplers, which the chain then owns.
    The last one must pick a token. Values aren't checked here: llama.cpp misbehaves on bad ones. All methods
    belong to one thread at a time.
    """

    def __init__(self, vocab: Vocab, seed: int, n_ctx: int) -> None:
        """`seed` serves all samplers that draw. `n_ctx`: tokens that a look-back of -1 goes back."""
        self._native = library.load()
        self._vocab = vocab
        self._seed = seed % _RANDOM_SEED
        self._n_ctx = n_ctx
        options = self._native.llama_sampler_chain_default_params()
        options.no_perf = True
        self._pointer: Any = self._native.llama_sampler_chain_init(options)
        self._candidates: npt.NDArray[np.void] | None = None
        self._drawing: list[tuple[Any, int]] = []
        """The samplers that draw random numbers, and how many candidates each must see to draw one."""
        self._sample = library.bind(
            "llama_sampler_sample", ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
        )

    @property
    def pointer(self) -> Any:
        """The llama_sampler*, valid until `close`."""
        if self._pointer is None:
            raise LlamaCppError("the sampler has been closed")
        return self._pointer

    def close(self) -> None:
        """Free the chain. Safe to call twice."""
        if self._pointer is not None:
            self._native.llama_sampler_free(self._pointer)
            self._pointer = None
            self._drawing.clear()

    def add_logit_bias(self, biases: Sequence[tuple[int, float]]) -> None:
        """Add a bias to the logits of some tokens, (token, bias) each; -inf bans one."""
        array = (self._native.llama_logit_bias * len(biases))(*biases)
        self._add(self._native.llama_sampler_init_logit_bias(self._vocab.n_tokens, len(biases), array))

    def add_penalties(self, last_n: int, repeat: float, frequency: float, presence: float) -> None:
        """Make the last `last_n` tokens less likely, -1: all; 1, 0 and 0 penalize nothing."""
        n_vocab = self._vocab.n_tokens
        last_n = look_back(last_n, self._n_ctx)
        self._add(self._native.llama_sampler_init_penalties(n_vocab, last_n, repeat, frequency, presence))

    def add_dry(
        self, multiplier: float, base: float, allowed_length: int, last_n: int, breakers: Sequence[str]
    ) -> None:
        """Make less likely what would go on with a repetition among the last `last_n` tokens; -1: all.

        Sequences don't reach over a breaker, a text of at most 40 bytes.
        """
        last_n = look_back(last_n, self._n_ctx)
        settings = DrySettings(multiplier, base, allowed_length, last_n, tuple(breakers))
        self._add(self._vocab.dry_samplers.copy(settings))

    def add_top_n_sigma(self, n: float) -> None:
        """Keep the tokens whose logit is within `n` standard deviations of the largest."""
        self._add(self._native.llama_sampler_init_top_n_sigma(n))

    def add_top_k(self, k: int) -> None:
        """Keep the `k` likeliest tokens."""
        self._add(self._native.llama_sampler_init_top_k(k))

    def add_typical_p(self, p: float) -> None:
        """Keep the tokens nearest to the expected information, `p` of the probability together."""
        self._add(self._native.llama_sampler_init_typical(p, _MIN_KEEP))

    def add_top_p(self, p: float) -> None:
        """Keep the likeliest tokens, `p` of the probability together."""
        self._add(self._native.llama_sampler_init_top_p(p, _MIN_KEEP))

    def add_min_p(self, p: float) -> None:
        """Keep the tokens that are at least `p` times as likely as the likeliest."""
        self._add(self._native.llama_sampler_init_min_p(p, _MIN_KEEP))

    def add_xtc(self, probability: float, threshold: float) -> None:
        """With `probability`, drop all tokens of at least `threshold` but the least likely of them."""
        stage = self._native.llama_sampler_init_xtc(probability, threshold, _MIN_KEEP, self._seed)
        self._add(stage)
        self._drawing.append((stage, 2))

    def add_temperature(self, temperature: float, spread: float = 0.0, exponent: float = 1.0) -> None:
        """Divide logits by a temperature, which entropy moves within `spread` of `temperature`."""
        self._add(self._native.llama_sampler_init_temp_ext(temperature, spread, exponent))

    def add_greedy(self) -> None:
        """Pick the likeliest token."""
        self._add(self._native.llama_sampler_init_greedy())

    def add_distribution(self) -> None:
        """Draw a token by its probability."""
        stage = self._native.llama_sampler_init_dist(self._seed)
        self._add(stage)
        self._drawing.append((stage, 1))

    def add_mirostat(self, version: int, tau: float, eta: float) -> None:
        """Draw a token so that the surprise stays near `tau`; `eta` is the rate of learning."""
        if version == 1:
            n_vocab = self._vocab.n_tokens
            stage = self._native.llama_sampler_init_mirostat(n_vocab, self._seed, tau, eta, _MIROSTAT_M)
        else:
            stage = self._native.llama_sampler_init_mirostat_v2(self._seed, tau, eta)
        self._add(stage)

    def _add(self, stage: Any) -> None:
        self._native.llama_sampler_chain_add(self.pointer, stage)

    def sample(self, context: Context, row: int) -> int:
        """Pick a token from the logits after token `row` of the last batch, and accept it.

        Releases the GIL. Raises LlamaCppError if that token had no output.
        """
        if not context.has_output(row):
            raise LlamaCppError(f"token {row} of the last batch has no logits; add it with output=True")
        token: int = self._sample(self.pointer, context.pointer, row)
        return token

    def apply(self, logits: npt.NDArray[np.float32]) -> Candidates:
        """Run the chain over one row of logits [n_vocab] without accepting; draws a random number."""
        n_vocab = self._vocab.n_tokens
        if logits.shape != (n_vocab,):
            raise LlamaCppError(f"logits must be [{n_vocab}], not {list(logits.shape)}")
        if self._candidates is None:
            self._candidates = np.empty(n_vocab, TOKEN_DATA)
        candidates = self._candidates
        candidates["id"] = np.arange(len(candidates), dtype=np.int32)
        candidates["logit"] = logits
        candidates["p"] = 0
        native = self._native
        array = native.llama_token_data_array(
            candidates.ctypes.data_as(ctypes.POINTER(native.llama_token_data)), len(candidates), -1, False
        )
        native.llama_sampler_apply(self.pointer, ctypes.byref(array))
        # A sampler may have pointed the array at memory of its own, valid until its next use.
        left_type = native.llama_token_data * int(array.size)
        left = np.frombuffer(
            memoryview(left_type.from_address(ctypes.addressof(array.data.contents))).cast("B"), TOKEN_DATA
        )
        if not 0 <= array.selected < len(left):
            raise LlamaCppError(
                "the sampler picked no token: the logits aren't finite; the model may be damaged"
            )
        return Candidates(
            ids=left["id"].copy(),
            probabilities=left["p"].copy(),
            selected=int(left["id"][array.selected]),
        )

    def skip_draw(self) -> None:
        """Use up the random numbers of one token.

        The distribution draws one for each token, XTC one where it has two candidates and more, which most
        tokens have. Mirostat, whose state follows the probabilities, can't skip anything.
        """
        native = self._native
        for stage, n_candidates in self._drawing:
            candidates = (native.llama_token_data * n_candidates)()
            array = native.llama_token_data_array(candidates, n_candidates, -1, False)
            native.llama_sampler_apply(stage, ctypes.byref(array))

    def accept(self, token: int) -> None:
        """Report a token that the chain didn't pick itself: the prompt's, for penalties and DRY."""
        if not 0 <= token < self._vocab.n_tokens:
            raise LlamaCppError(f"token {token} is outside of a vocabulary of {self._vocab.n_tokens:,}")
        self._native.llama_sampler_accept(self.pointer, token)
