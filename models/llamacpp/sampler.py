"""The chain that picks the next token from logits (llama_sampler), as llama.cpp's own tools build it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.sampler_params import SamplerParams
from models.llamacpp.vocab import Vocab

if TYPE_CHECKING:
    from models.llamacpp.context import Context
    from models.llamacpp.model import Model

__all__ = ["Candidates", "Sampler", "SamplerParams"]

_RANDOM_SEED = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED: llama.cpp draws one
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


@dataclass(frozen=True)
class Candidates:
    """What a chain left of one row of logits: ids [n] i32, probabilities [n] f32, and the token it picked."""

    ids: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    selected: int


class Sampler:
    """Owns one chain until `close`. It has a state (random numbers, recent tokens), so one sequence each.

    All methods belong to one thread at a time. The order is llama.cpp's default: logit_bias, penalties,
    dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, dist. A temperature of 0 or less
    takes the most likely token after bias, penalties and dry; mirostat replaces all truncation.
    """

    def __init__(self, pointer: Any, vocab: Vocab, params: SamplerParams) -> None:
        """Takes ownership of `pointer`. Use `Sampler.chain`."""
        self._pointer: Any = pointer
        self._native = library.load()
        self.vocab = vocab
        self.params = params
        self._candidates: npt.NDArray[np.void] | None = None
        self._sample = library.bind(
            "llama_sampler_sample", ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
        )

    @classmethod
    def chain(cls, source: Model | Vocab, params: SamplerParams) -> Self:
        """Build the chain. Raises RequestError naming the parameter that is wrong for this vocabulary."""
        vocab = source if isinstance(source, Vocab) else source.vocab
        params.check(vocab.n_tokens)
        native = library.load()
        options = native.llama_sampler_chain_default_params()
        options.no_perf = True
        pointer = native.llama_sampler_chain_init(options)
        for stage in _stages(native, vocab, params):
            native.llama_sampler_chain_add(pointer, stage)  # the chain owns its stages
        return cls(pointer, vocab, params)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sample(self, context: Context, row: int) -> int:
        """Pick a token from `context.logits_row(row)` and accept it. `row`: the token's index in its batch.

        Releases the GIL. Raises LlamaCppError if that token had no output.
        """
        if not context.has_output(row):
            raise LlamaCppError(f"token {row} of the last batch has no logits; add it with output=True")
        token: int = self._sample(self.pointer, context.pointer, row)
        return token

    def sample_logits(self, logits: npt.NDArray[np.float32]) -> int:
        """Pick a token from one row of logits [n_vocab], masked ones for instance, and accept it."""
        token = self.apply(logits).selected
        self.accept(token)
        return token

    def apply(self, logits: npt.NDArray[np.float32]) -> Candidates:
        """Run the chain over one row of logits [n_vocab] without accepting; draws a random number."""
        if logits.shape != (self.vocab.n_tokens,):
            raise LlamaCppError(f"logits must be [{self.vocab.n_tokens}], not {list(logits.shape)}")
        if self._candidates is None:
            self._candidates = np.empty(self.vocab.n_tokens, _CANDIDATE)
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
            memoryview(left_type.from_address(ctypes.addressof(array.data.contents))).cast("B"), _CANDIDATE
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

    def accept(self, token: int) -> None:
        """Tell the chain of a token that it didn't pick itself: the prompt's, for penalties and DRY."""
        if not 0 <= token < self.vocab.n_tokens:
            raise LlamaCppError(f"token {token} is outside of a vocabulary of {self.vocab.n_tokens:,}")
        self._native.llama_sampler_accept(self.pointer, token)

    def reset(self) -> None:
        """Back to the state just after `chain`, the seed included; a random seed draws a new one."""
        self._native.llama_sampler_reset(self.pointer)

    def clone(self) -> Self:
        """An independent copy with the same state."""
        return type(self)(self._native.llama_sampler_clone(self.pointer), self.vocab, self.params)

    @property
    def seed(self) -> int:
        """The seed in use, drawn or given."""
        return int(self._native.llama_sampler_get_seed(self.pointer))


def _stages(native: Any, vocab: Vocab, params: SamplerParams) -> list[Any]:
    """The chain's samplers in order, each freshly allocated; those that do nothing are left out."""
    seed = _RANDOM_SEED if params.seed is None else params.seed % _RANDOM_SEED
    stages = []
    biases = [*params.logit_bias, *((token, float("-inf")) for token in vocab.suppressed_tokens)]
    if biases:
        array = (native.llama_logit_bias * len(biases))(*biases)
        stages.append(native.llama_sampler_init_logit_bias(vocab.n_tokens, len(biases), array))
    if params.mirostat:
        return [
            *stages,
            native.llama_sampler_init_temp(params.temperature),
            _mirostat(native, vocab, params, seed),
        ]
    if params.has_penalties:
        stages.append(
            native.llama_sampler_init_penalties(
                vocab.n_tokens,
                params.repeat_last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    if params.has_dry:
        stages.append(_dry(native, vocab, params))
    if params.temperature <= 0:
        return [*stages, native.llama_sampler_init_greedy()]
    if params.top_n_sigma > 0:
        stages.append(native.llama_sampler_init_top_n_sigma(params.top_n_sigma))
    if params.top_k > 0:
        stages.append(native.llama_sampler_init_top_k(params.top_k))
    if params.typical_p < 1:
        stages.append(native.llama_sampler_init_typical(params.typical_p, params.min_keep))
    if params.top_p < 1:
        stages.append(native.llama_sampler_init_top_p(params.top_p, params.min_keep))
    if params.min_p > 0:
        stages.append(native.llama_sampler_init_min_p(params.min_p, params.min_keep))
    if params.xtc_probability > 0:
        stages.append(
            native.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, params.min_keep, seed)
        )
    stages.append(
        native.llama_sampler_init_temp_ext(
            params.temperature, params.dynatemp_range, params.dynatemp_exponent
        )
    )
    stages.append(native.llama_sampler_init_dist(seed))
    return stages


def _mirostat(native: Any, vocab: Vocab, params: SamplerParams, seed: int) -> Any:
    tau, eta = params.mirostat_tau, params.mirostat_eta
    if params.mirostat == 1:
        return native.llama_sampler_init_mirostat(vocab.n_tokens, seed, tau, eta, 100)
    return native.llama_sampler_init_mirostat_v2(seed, tau, eta)


def _dry(native: Any, vocab: Vocab, params: SamplerParams) -> Any:
    breakers = [text.encode() for text in params.dry_sequence_breakers]
    array = (ctypes.c_char_p * max(len(breakers), 1))(*breakers)
    return native.llama_sampler_init_dry(
        vocab.pointer,
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        params.dry_penalty_last_n,
        array,
        len(breakers),
    )
