"""The openers of heads that draft: those in files of their own, and layers of the model's file."""

from __future__ import annotations

from pathlib import Path

from models.errors import ModelLoadError
from models.gguf.draft_head import head_mismatch
from models.gguf.hyperparameters import Hyperparameters
from models.gguf.info import GGUFInfo
from models.llamacpp.context import Context
from models.llamacpp.hidden_states import SHOWN_LAYERS
from models.llamacpp.model import Model
from server.ipc.model_spec import ModelSpec
from server.worker.run.draft_head import CATCH_UP_TOKENS, HeadProposer
from server.worker.run.draft_model import mismatch
from server.worker.run.hidden_state_log import HiddenStateLog

LENDER_CELLS = 256
"""The context that lends a head the model's embeddings computes nothing; it has llama.cpp's fewest cells."""


def open_head(spec: ModelSpec, info: GGUFInfo, served: GGUFInfo, context: Context) -> HeadProposer:
    """Load the EAGLE-3 head `info` for the served model. Raises ModelLoadError if it isn't one for it."""
    reason = head_mismatch(info, served, SHOWN_LAYERS)
    if reason is not None:
        raise _unfit(spec, info.path, reason)
    model = Model.load(
        info.path,
        n_gpu_layers=context.model.n_gpu_layers,
        use_mmap=spec.options.use_mmap,
        use_extra_bufts=spec.options.use_extra_bufts,
    )
    reason = mismatch(model.vocab, context.model.vocab)
    if reason is not None:
        raise _unfit(spec, info.path, reason)
    names = {tensor.name for tensor in info.tensors}
    lender = None
    if not {"token_embd.weight", "output.weight"} <= names:
        lender = Context(context.model, n_ctx=LENDER_CELLS, n_batch=1, n_threads=1)
    layers = [int(layer) for layer in Hyperparameters(info.metadata, "eagle3").per_layer("target_layers")]
    log = HiddenStateLog(context, layers)
    own = _context(spec, model, context, lender=lender)
    return _warm(HeadProposer(own, log, projects=True))


def open_own_head(spec: ModelSpec, context: Context) -> HeadProposer:
    """Draft with the layer of the served model's own file that predicts a further token.

    Raises ContextError and other LlamaCppErrors.
    """
    log = HiddenStateLog(context)
    own = _context(spec, context.model, context, predicts_further=True)
    return _warm(HeadProposer(own, log, projects=False))


def _context(
    spec: ModelSpec,
    model: Model,
    served: Context,
    *,
    lender: Context | None = None,
    predicts_further: bool = False,
) -> Context:
    """Return a head's context, with as many slots and cells as the served one."""
    return Context(
        model,
        n_ctx=served.n_ctx,
        kv_unified=True,  # a chat may be longer than its share, in one layout or another
        n_batch=max(CATCH_UP_TOKENS, served.n_seq_max),
        n_ubatch=max(CATCH_UP_TOKENS, served.n_seq_max),
        n_seq_max=served.n_seq_max,
        n_threads=served.n_threads,
        n_threads_batch=served.n_threads_batch,
        cores=served.cores,
        flash_attn=spec.options.flash_attn,
        type_k=spec.options.type_k,
        type_v=spec.options.type_v,
        lender=lender,
        predicts_further=predicts_further,
    )


def _warm(proposer: HeadProposer) -> HeadProposer:
    proposer.warm_up()
    return proposer


def _unfit(spec: ModelSpec, path: Path, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{path.name} can't draft for {spec.name}: {reason}; give a head that was made for this model with"
        " --draft, or none"
    )
