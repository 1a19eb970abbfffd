"""`servable_type`: what of a candidate's file says that it can be served, and as which type."""

from __future__ import annotations

from pathlib import Path

from models.errors import InvalidGGUF, LlamaCppError
from models.gguf.info import GGUFInfo, read_gguf_info, require_model, require_projector_for
from models.imports.candidate import Candidate, NotImported


def servable_type(candidate: Candidate) -> tuple[str, tuple[str, ...]]:
    """Return the type that the file is, and what isn't taken over of the model, a sentence each.

    llama.cpp reads the whole file but for its weights: only it knows whether it has a place for each tensor.
    Raises NotImported.
    """
    if candidate.problem is not None:
        raise NotImported(candidate.problem)
    info = checked_header(candidate.parts[0].path)
    if info.size_bytes != candidate.size_bytes:
        raise NotImported(
            f"{info.path} says that it is all of the model, and there are {len(candidate.parts)} files"
        )
    type_ = info.ftype or candidate.type_hint
    if type_ is None:
        raise NotImported(f"{info.path} says nowhere which type it is, nor does its name")
    _load(info.path)
    blind = () if candidate.projector is None else _blindness(candidate.projector.path, info)
    return type_, (*_template_remark(candidate, info), *blind, *candidate.remarks)


def projector_of(candidate: Candidate, info: GGUFInfo) -> GGUFInfo | None:
    """Return the header of the candidate's projector, if there is one that the model can see with."""
    if candidate.projector is None:
        return None
    try:
        found = read_gguf_info(candidate.projector.path)
        require_projector_for(found, info)
    except InvalidGGUF:  # told by `servable_type`
        return None
    return found


def _blindness(path: Path, info: GGUFInfo) -> tuple[str, ...]:
    """Return the reason why a projector isn't taken over, as a sentence; nothing if it is."""
    try:
        require_projector_for(read_gguf_info(path), info)
    except InvalidGGUF as error:
        return (f"its projector isn't taken over, it reads text alone here: {error.message}",)
    return ()


def checked_header(path: Path) -> GGUFInfo:
    """Return the header of a file that is a model. Raises NotImported."""
    try:
        info = read_gguf_info(path)
        require_model(info)
    except InvalidGGUF as error:
        raise NotImported(error.message) from error
    return info


def _load(path: Path) -> None:
    from models.llamacpp.model import Model  # the library takes its time to load

    try:
        Model.load(path, no_alloc=True).close()
    except LlamaCppError as error:
        raise NotImported(error.message.rpartition(";")[0]) from error


def _template_remark(candidate: Candidate, info: GGUFInfo) -> tuple[str, ...]:
    if "template" not in candidate.settings:
        return ()
    instead = "the file's own chat template is used"
    if info.chat_template is None:
        instead = "the file has none of its own: serve it with --chat-template-file or --prompt-format"
    return (f"its template is Go's and isn't taken over; {instead}",)
