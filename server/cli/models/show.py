"""The command `corral show`."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.serve_options import ServeOptions

if TYPE_CHECKING:
    from models.machine.device import Device
    from models.store.manifest import Manifest
    from models.store.store import StoredFile, StoredModel
    from server.tuning.result_store import Result, ResultStore


def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="A model that is here, a .gguf file, or a preset.")
    ],
    ctx: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Context per request, for the memory estimate.")
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests at a time, for the memory estimate.")
    ] = ServeOptions.parallel,
    card: Annotated[bool, typer.Option("--card", help="Print a model card for publishing.")] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The settings file that has the presets."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything about one model, or a preset.

    Of a model: its source, files and checksums, what its header says, the memory it takes when it is served,
    and what `corral tune` found for it on this machine. Of a preset: the models that serve it, and what it
    makes of requests.
    """
    from models.machine.host_memory import memory
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import print_json
    from server.cli.models.show_preset import preset_document, print_preset
    from server.cli.reference import stored_reference
    from server.tuning.result_store import results_here

    preset = preset_document(reference, config_file)
    if preset is not None:
        (print_json if as_json else print_preset)(preset)
        return
    paths = Paths.from_environment()
    store = ModelStore(paths)
    ref = stored_reference(reference, store)
    available = memory().available_bytes
    options = ServeOptions(ctx=ctx, parallel=parallel)
    if ref.path is not None and ref.path.is_file():
        document = _file(ref, available, options)
    else:
        stored = store.get(ref)
        if card:
            _print_card(stored)
            return
        document = _model(stored, ref.type, available, options)
    results = _tuned(document, results_here(paths.tuning_dir))
    if as_json:
        print_json(document)
    else:
        _print(document, results)


def _model(
    model: StoredModel, type_: str | None, available_bytes: int, options: ServeOptions
) -> dict[str, Any]:
    from server.cli.models.model_rows import fit_of, source_of

    manifest = model.manifest
    files = [
        {
            **_file_facts(file),
            **_made_of(manifest, file.type),
            **fit_of(file, available_bytes, options, _list_devices),
        }
        for file in model.types.values()
        if type_ in (None, file.type)
    ]
    return {
        "name": model.name,
        "source": source_of(model),
        "revision": model.revision,
        "created": manifest.created,
        "architecture": manifest.architecture,
        "parameters": manifest.parameters,
        "context_length": manifest.context_length,
        "prompt_format": manifest.prompt_format,
        "input_sha256": manifest.source.sha256,
        "recipe": manifest.source.recipe,
        "quality": manifest.quality,
        "tools": manifest.tools,
        **_header(files[0]["paths"][0]),
        "files": files,
        "projector": _projector(model),
    }


def _projector(model: StoredModel) -> dict[str, Any] | None:
    """Return the facts about the file with what lets the model see; None for a model of text alone."""
    file, entry = model.projector_file, model.manifest.projector
    if file is None or entry is None:
        return None
    return {**_file_facts(file), "tensor_types": entry.tensor_types}


def _file_facts(file: StoredFile) -> dict[str, Any]:
    """Return what is told of any file, a model's or a projector's."""
    return {
        "type": file.type,
        "paths": [str(path) for path in file.paths],
        "size_bytes": file.size_bytes,
        "sha256": list(file.sha256),
        "bits_per_weight": file.bits_per_weight,
        "tensors": file.tensor_count,
    }


@cache
def _list_devices() -> tuple[Device, ...]:
    from models.machine.hardware import probe_devices

    return tuple(probe_devices()[0])


def _made_of(manifest: Manifest, type_: str) -> dict[str, Any]:
    """Return the facts of a file's making in the manifest."""
    entry = next(file for file in manifest.files if file.type == type_)
    return {
        "tensor_types": entry.tensor_types,
        "imatrix": entry.imatrix,
        "calibration": entry.calibration,
        "quality": entry.quality,
    }


def _print_card(model: StoredModel) -> None:
    from models.gguf.info import read_gguf_info
    from quantize.job.model_card import model_card

    first = next(iter(model.types.values()))
    sys.stdout.write(model_card(model.manifest, read_gguf_info(first.path).metadata))


def _file(ref: Any, available_bytes: int, options: ServeOptions) -> dict[str, Any]:
    from models.gguf.info import read_gguf_info
    from server.cli.models.model_rows import fit_of_info

    info = read_gguf_info(ref.path)
    return {
        "name": ref.name,
        "source": str(ref.path),
        "architecture": info.architecture,
        "parameters": info.n_params,
        "context_length": info.n_ctx_train,
        **_header(str(ref.path)),
        "files": [
            {
                "type": info.ftype,
                "paths": [str(path) for path in info.paths],
                "size_bytes": info.size_bytes,
                "bits_per_weight": info.bits_per_weight,
                "tensors": len(info.tensors),
                **(
                    fit_of_info(info, available_bytes, options, _list_devices) if info.kind == "model" else {}
                ),
            }
        ],
    }


def _header(path: str) -> dict[str, Any]:
    """Return the facts that only the file has: sizes, metadata without the long lists, chat template."""
    from models.errors import InvalidGGUF
    from models.gguf.info import GGUFArray, read_gguf_info
    from models.gguf.pooling import pooling_of
    from models.pooling import kind_of

    try:
        info = read_gguf_info(Path(path))
    except InvalidGGUF as error:
        return {"problem": error.message}
    pooling = pooling_of(info)
    metadata = {
        key: f"[{value.length:,} × {value.element_type}]" if isinstance(value, GGUFArray) else value
        for key, value in info.metadata.items()
        if key != "tokenizer.chat_template"
    }
    return {
        "kind": kind_of(pooling) if info.kind == "model" else info.kind,
        "pooling": None if pooling is None else pooling.name,
        "vocabulary": info.n_vocab,
        "layers": info.n_layer,
        "embedding_length": info.n_embd,
        "chat_template": info.chat_template,
        "metadata": metadata,
    }


def _tuned(document: dict[str, Any], store: ResultStore) -> list[Result | None]:
    """Return the result of `corral tune` for each of the document's files, and put it into the document."""
    from server.cli.tune.report import result_document

    results = [store.find(Path(file["paths"][0])) for file in document["files"]]
    for file, result in zip(document["files"], results, strict=True):
        file["tuned"] = None if result is None else result_document(result)
    return results


def _print(document: dict[str, Any], results: list[Result | None]) -> None:
    from rich.markup import escape

    from server.cli.console import out, plain_table

    console = out()
    facts = plain_table("", "")
    facts.show_header = False
    for key, value in document.items():
        if key in ("files", "projector", "metadata", "chat_template") or value in (None, {}, []):
            continue
        text = f"{value:,}" if isinstance(value, int) else _flat(value)
        facts.add_row(f"[bold]{key.replace('_', ' ')}[/]", escape(text))
    console.print(facts)
    for file, result in zip(document["files"], results, strict=True):
        _print_file(file, result)
    if document.get("projector"):
        _print_file(document["projector"], None)
    if document.get("metadata"):
        console.print("\n[bold]metadata[/]")
        for key, value in document["metadata"].items():
            console.print(f"  {escape(key)} = {escape(str(value))}", soft_wrap=True)
    if document.get("chat_template"):
        console.print("\n[bold]chat template[/]")
        console.print(escape(document["chat_template"]), soft_wrap=True)


def _print_file(file: dict[str, Any], result: Result | None) -> None:
    from rich.markup import escape

    from server.cli.console import out, size
    from server.cli.tune.report import summary

    console = out()
    bits = "" if file["bits_per_weight"] is None else f", {file['bits_per_weight']:.2f} bits per weight"
    console.print(f"\n[bold]{file['type'] or 'unknown type'}[/]  {size(file['size_bytes'])}{bits}")
    for number, path in enumerate(file["paths"]):
        console.print(f"  {escape(path)}", soft_wrap=True)
        if file.get("sha256"):
            console.print(f"  sha256 {file['sha256'][number]}", soft_wrap=True)
    for key in ("tensor_types", "imatrix", "calibration", "quality"):
        if file.get(key):
            console.print(f"  {key.replace('_', ' ')}: {escape(_flat(file[key]))}", soft_wrap=True)
    if file.get("served_context"):
        console.print(f"  served here with a context of {file['served_context']:,} tokens", soft_wrap=True)
    if file.get("memory"):
        console.print(f"  {escape(file['memory'])}", soft_wrap=True)
    for text in summary(result) if result else ():
        console.print(f"  {escape(text)}", soft_wrap=True)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
