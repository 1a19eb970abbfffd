"""Choice of a repository's files for a download, from its listing; pure.

once: weights, in one form: safetensors before .bin; a ready GGUF when its type is requested, or when there
      is nothing else
always: config, tokenizer, templates, licence and model card at the root; sentence-transformers' modules
never: original/, onnx/, flax, tf, consolidated duplicates, training state
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from models.errors import CheckpointError, HubError, ModelNotFound
from models.gguf.projector import PROJECTOR_NUMBERS, is_projector_name
from models.weight_files import INDEX_SUFFIX, MODULE_FOLDER, IndexReader, WeightFiles, choose_weight_files


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. `sha256` for large (LFS) files; `blob_id` is git's sha1 of the others."""

    path: str
    size_bytes: int
    sha256: str | None
    blob_id: str | None

    @property
    def etag(self) -> str:
        """The name of its blob in the cache: the hash of its content."""
        etag = self.sha256 or self.blob_id
        assert etag, "checked when the listing was read"
        return etag


@dataclass(frozen=True, slots=True)
class Choice:
    """The files to download, in order, weights last. `type` is the GGUF's, where its name says one."""

    kind: Literal["checkpoint", "gguf"]
    type: str | None
    files: tuple[RemoteFile, ...]
    unread_index: RemoteFile | None = None
    """The index on which the choice depends, where it couldn't be read."""


_SMALL = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "README.md", "LICENSE*", "LICENCE*")
_GGUF_SMALL = ("config.json", "*.jinja", "README.md", "LICENSE*", "LICENCE*")
_SMALL_FOLDERS = ("additional_chat_templates",)
_MODULE_CONFIG = re.compile(rf"{MODULE_FOLDER}/config\.json")
"""The settings of a sentence-transformers' module, such as `1_Pooling/config.json`."""
_DENSE_WEIGHTS = re.compile(r"\d{1,3}_Dense/model\.safetensors")
"""The weights of a module behind the pooling."""
_SMALL_LIMIT_BYTES = 256 << 20
_OTHER_WEIGHTS = (
    "flax_model*",
    "tf_model*",
    "training_args*",
    "optimizer*",
    "scheduler*",
    "*.onnx*",
    "rust_model*",
)
_SHARD = re.compile(
    r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.[a-z]+)", re.IGNORECASE
)
_GGUF_TYPE = re.compile(
    r"(?<![A-Za-z0-9])(I?Q\d+(?:_[0-9A-Z]+)*|TQ\d_\d|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4)(?![A-Za-z0-9_])",
    re.IGNORECASE,
)


def choose(
    repo: str,
    files: Sequence[RemoteFile],
    type_: str | None,
    include: Sequence[str],
    read_index: IndexReader | None = None,
) -> Choice:
    """Choose the files of a model, of `type_` if given, or those matching the globs `include`.

    `read_index` reads an index of shards, if that is here already.

    Raises ModelNotFound, saying what there is, or HubError for a listing that can't be right.
    """
    for file in files:
        _require_safe(repo, file.path)
    if include:
        return _included(repo, files, include)
    ggufs = _gguf_groups(files)
    if type_ is not None and any(group.type == type_ for group in ggufs):
        return _gguf(repo, files, ggufs, type_)
    chosen, weights = _checkpoint_weights(repo, files, read_index)
    if weights:
        unread = None if chosen is None or chosen.is_certain else chosen.index
        if unread is None:
            _require_all_shards(repo, weights)
        small = [
            file
            for file in files
            if _is_dense_layer(file)
            or (_is_small(file, _SMALL) and not _is_foreign_index(file, weights, chosen))
        ]
        index = next((file for file in files if file.path == unread), None)
        return Choice("checkpoint", None, (*small, *weights), index)
    if ggufs:
        return _gguf(repo, files, ggufs, type_)
    if any(is_projector_name(file.path) for file in files):
        raise ModelNotFound(
            f"{repo} has a projector (mmproj) and no model's weights; choose the repository of its model"
        )
    kinds = " ".join(sorted({PurePosixPath(file.path).suffix or file.path for file in files})) or "nothing"
    raise ModelNotFound(
        f"{repo} has no safetensors, .bin or GGUF weights (it has: {kinds[:200]}); choose another repository"
    )


def gguf_type(path: str) -> str | None:
    """Return the type in a GGUF file's name, or else in its folder's; None if neither has one.

    `a/x-Q4_K_M-00001-of-00002.gguf` gives Q4_K_M.
    """
    pure = PurePosixPath(path)
    shard = _SHARD.fullmatch(pure.name)
    for text in (shard["prefix"] if shard else pure.stem, pure.parent.name):
        found = _GGUF_TYPE.findall(text)
        if found:
            type_ = str(found[-1]).upper()
            return {"FP16": "F16", "FP32": "F32"}.get(type_, type_)
    return None


def sizes(repo: str, files: Sequence[RemoteFile]) -> tuple[dict[str, int], int | None]:
    """Return the bytes of each ready GGUF by its type, and of the weights that would be quantized, if any.

    Of several files of a type it is the plain one, else the smallest. Raises HubError for a listing that
    can't be right, and ModelNotFound where there is neither.
    """
    ggufs: dict[str, int] = {}
    for group in sorted(_gguf_groups(files), key=lambda group: (_is_variant(group), _bytes(group.files))):
        if group.type is not None:
            ggufs.setdefault(group.type, _bytes(group.files))
    _, weights = _checkpoint_weights(repo, files, None)
    if not ggufs and not weights:
        choose(repo, files, None, ())  # says what there is instead
    return dict(sorted(ggufs.items(), key=lambda item: item[1])), _bytes(weights) if weights else None


def _bytes(files: Iterable[RemoteFile]) -> int:
    return sum(file.size_bytes for file in files)


def _included(repo: str, files: Sequence[RemoteFile], include: Sequence[str]) -> Choice:
    chosen = [file for file in files if any(fnmatch.fnmatchcase(file.path, glob) for glob in include)]
    if not chosen:
        raise ModelNotFound(
            f"no file of {repo} matches {' '.join(include)}; it has {_some(f.path for f in files)}"
        )
    ggufs = _gguf_groups(chosen)
    types = {group.type for group in ggufs}
    return Choice(
        "gguf" if ggufs else "checkpoint",
        types.pop() if len(types) == 1 else None,
        tuple(sorted(chosen, key=_order)),
    )


# --- checkpoints


def _checkpoint_weights(
    repo: str, files: Sequence[RemoteFile], read_index: IndexReader | None
) -> tuple[WeightFiles | None, list[RemoteFile]]:
    """Return the choice among the files at the root, and its files.

    Where nothing is chosen, the files are what other safetensors there are: Meta's own, an adapter's.
    """
    at_root = {file.path: file for file in sorted(files, key=_order) if _is_weights(file.path)}
    indexes = [file.path for file in files if file.path.endswith(INDEX_SUFFIX)]
    try:
        chosen = choose_weight_files([*at_root, *indexes], read_index)
    except CheckpointError as error:
        raise HubError(f"{repo} can't be used: {error.message}") from error
    if chosen is not None:
        return chosen, [at_root[name] for name in chosen.names]
    return None, [file for name, file in at_root.items() if name.endswith(".safetensors")]


def _is_weights(path: str) -> bool:
    return "/" not in path and path.endswith((".safetensors", ".bin")) and not _matches(path, _OTHER_WEIGHTS)


def _is_small(file: RemoteFile, globs: Sequence[str]) -> bool:
    folder, _, name = file.path.rpartition("/")
    if folder and folder not in _SMALL_FOLDERS and not _MODULE_CONFIG.fullmatch(file.path):
        return False
    return (
        _matches(name, globs) and not _matches(name, _OTHER_WEIGHTS) and file.size_bytes <= _SMALL_LIMIT_BYTES
    )


def _is_dense_layer(file: RemoteFile) -> bool:
    """True if the file has the weights of a layer behind the pooling, which count among the small files."""
    return _DENSE_WEIGHTS.fullmatch(file.path) is not None and file.size_bytes <= _SMALL_LIMIT_BYTES


def _is_foreign_index(file: RemoteFile, weights: Sequence[RemoteFile], chosen: WeightFiles | None) -> bool:
    """True if the file is an index of weights that aren't downloaded, or that are whole."""
    if not file.path.endswith(INDEX_SUFFIX) or (chosen is not None and file.path == chosen.index):
        return False
    return not any(
        file.path == f"{_prefix(weight.path)}{PurePosixPath(weight.path).suffix}{INDEX_SUFFIX}"
        for weight in weights
        if _SHARD.fullmatch(weight.path)
    )


def _prefix(path: str) -> str:
    match = _SHARD.fullmatch(path)
    return match["prefix"] if match else PurePosixPath(path).stem


def _require_all_shards(repo: str, weights: Sequence[RemoteFile]) -> None:
    present = {file.path for file in weights}
    for file in weights:
        match = _SHARD.fullmatch(file.path)
        if match is None:
            continue
        for number in range(1, min(int(match["count"]), 10_000) + 1):
            name = f"{match['prefix']}-{number:05}-of-{match['count']}{match['suffix']}"
            if name not in present:
                raise HubError(f"{repo} lacks {name}, which its other weights call for; try another revision")


# --- ready GGUF


@dataclass(frozen=True, slots=True)
class _Group:
    """One GGUF, in one file or several."""

    stem: str
    type: str | None
    files: tuple[RemoteFile, ...]


def _gguf_groups(files: Sequence[RemoteFile]) -> list[_Group]:
    stems: dict[str, list[RemoteFile]] = {}
    for file in sorted(files, key=_order):
        if not is_model_gguf(file.path):
            continue
        match = _SHARD.fullmatch(file.path)
        stems.setdefault(f"{match['prefix']}/{match['count']}" if match else file.path, []).append(file)
    return [_Group(stem, gguf_type(group[0].path), tuple(group)) for stem, group in stems.items()]


def is_model_gguf(path: str) -> bool:
    """True for a GGUF file that may be a model: no projector, and no importance matrix."""
    pure = PurePosixPath(path.lower())
    if pure.suffix != ".gguf" or is_projector_name(path):
        return False
    return not pure.name.startswith("imatrix") and not pure.stem.endswith(("imatrix", "imatrix.dat"))


def _gguf(repo: str, files: Sequence[RemoteFile], groups: list[_Group], type_: str | None) -> Choice:
    wanted = type_ or ("Q4_K_M" if len(groups) > 1 else groups[0].type)
    chosen = [group for group in groups if group.type == wanted]
    chosen = [group for group in chosen if not _is_variant(group)] or chosen
    if not chosen:
        types = " ".join(sorted({group.type for group in groups if group.type}))
        problem = f"has no GGUF of type {type_}" if type_ else "has several GGUFs and none is Q4_K_M"
        raise ModelNotFound(
            f"{repo} {problem}; choose one of {types}, or a file with --include: "
            f"{_some(group.files[0].path for group in groups)}"
        )
    if len(chosen) > 1:
        names = _some(group.files[0].path for group in chosen)
        raise ModelNotFound(f"{repo} has several GGUF files of type {wanted}; choose with --include: {names}")
    _require_all_shards(repo, chosen[0].files)
    small = [file for file in files if _is_small(file, _GGUF_SMALL)]
    return Choice("gguf", chosen[0].type, (*small, *_projector(files, chosen[0]), *chosen[0].files))


def _projector(files: Sequence[RemoteFile], model: _Group) -> tuple[RemoteFile, ...]:
    """Return the projector that goes with a model, if the repository has one."""
    fitting = fitting_projector(model.files[0].path, [file.path for file in files])
    return tuple(file for file in files if file.path == fitting)


def fitting_projector(model: str, paths: Iterable[str]) -> str | None:
    """Return the projector among the files at `paths` that goes with the model's; None where none does.

    It lies beside the model, or at the root. Of several, those that are named after the model come first,
    then those with the usual numbers.
    """
    path = PurePosixPath(model)
    places = (path.parent, PurePosixPath())
    beside = [
        other for other in sorted(paths) if is_projector_gguf(other) and PurePosixPath(other).parent in places
    ]
    name = _untyped(path.stem)
    named = [other for other in beside if name and name in _untyped(PurePosixPath(other).stem)]
    ranks = {numbers: rank for rank, numbers in enumerate(PROJECTOR_NUMBERS)}
    ordered = sorted(named or beside, key=lambda other: ranks.get(gguf_type(other) or "", len(ranks)))
    return next(iter(ordered), None)


def is_projector_gguf(path: str) -> bool:
    """True for a GGUF file of a projector, by its name; one in parts can't be loaded."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".gguf" and is_projector_name(path) and not _SHARD.fullmatch(pure.name)


def _untyped(stem: str) -> str:
    """Return a file's name without a part's number, its type and `mmproj`, in lower case."""
    shard = _SHARD.fullmatch(f"{stem}.gguf")
    words = _GGUF_TYPE.sub("", shard["prefix"] if shard else stem).lower()
    return words.replace("mmproj", "").strip("-_.")


def _is_variant(group: _Group) -> bool:
    """True for "UD", a variant with other choices per tensor; the plain one is meant where both are there."""
    return re.search(r"(?<![A-Za-z0-9])UD-", group.stem) is not None


# --- names


def _require_safe(repo: str, path: str) -> None:
    """Raise HubError for a path that can't become one in the cache."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise HubError(
            f"{repo} lists a file with the unusable name {path[:100]!r}; don't use this repository"
        )


def _order(file: RemoteFile) -> str:
    return file.path


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _some(names: Iterable[str]) -> str:
    everything = sorted(names)
    more = f" and {len(everything) - 8} more" if len(everything) > 8 else ""
    return " ".join(everything[:8]) + more
