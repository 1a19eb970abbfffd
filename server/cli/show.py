"""`corral show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from models.store import StoredModel


def command(
    reference: Annotated[str, typer.Argument(metavar="REF", help="A model that is here, or a .gguf file.")],
    ctx: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Context per request, for the memory estimate.")
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests at a time, for the memory estimate.")
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything about one model.

    Its source, files and checksums, what its header says, and the memory it takes when it is served.
    """
    from models.memory import memory
    from models.paths import Paths
    from models.reference import ModelRef
    from models.store import ModelStore
    from server.cli.console import print_json

    ref = ModelRef.parse(reference)
    available = memory().available_bytes
    if ref.path is not None and ref.path.is_file():
        document = _file(ref, available, ctx, parallel)
    else:
        document = _model(ModelStore(Paths.from_environment()).get(ref), ref.type, available, ctx, parallel)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _model(
    model: StoredModel, type_: str | None, available_bytes: int, n_ctx: int | None, n_parallel: int
) -> dict[str, Any]:
    from server.cli.described import fit_of, source_of

    manifest = model.manifest
    files = [
        {
            "type": file.type,
            "paths": [str(path) for path in file.paths],
            "size_bytes": file.size_bytes,
            "sha256": list(file.sha256),
            "bits_per_weight": file.bits_per_weight,
            "tensors": file.tensor_count,
            **fit_of(file, available_bytes, n_ctx, n_parallel),
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
        "quality": manifest.quality,
        "tools": manifest.tools,
        **_header(files[0]["paths"][0]),
        "files": files,
    }


def _file(ref: Any, available_bytes: int, n_ctx: int | None, n_parallel: int) -> dict[str, Any]:
    from models.fit import estimate, fits_in_memory
    from models.gguf_info import read_gguf_info
    from server.cli.described import default_n_ctx

    info = read_gguf_info(ref.path)
    needs = estimate(info, n_ctx or default_n_ctx(info), n_parallel)
    verdict = fits_in_memory(needs, available_bytes)
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
                "fits": verdict.fits,
                "memory_bytes": verdict.needed_bytes,
                "memory": verdict.text,
            }
        ],
    }


def _header(path: str) -> dict[str, Any]:
    """What only the file says: its sizes, its metadata without the long lists, its chat template."""
    from pathlib import Path

    from models.errors import InvalidGGUF
    from models.gguf_info import GGUFArray, read_gguf_info

    try:
        info = read_gguf_info(Path(path))
    except InvalidGGUF as error:
        return {"problem": error.message}
    metadata = {
        key: f"[{value.length:,} × {value.element_type}]" if isinstance(value, GGUFArray) else value
        for key, value in info.metadata.items()
        if key != "tokenizer.chat_template"
    }
    return {
        "vocabulary": info.n_vocab,
        "layers": info.n_layer,
        "embedding_length": info.n_embd,
        "chat_template": info.chat_template,
        "metadata": metadata,
    }


def _print(document: dict[str, Any]) -> None:
    from rich.markup import escape

    from server.cli.console import out, plain_table, size

    console = out()
    facts = plain_table("", "")
    facts.show_header = False
    for key, value in document.items():
        if key in ("files", "metadata", "chat_template") or value in (None, {}, []):
            continue
        text = f"{value:,}" if isinstance(value, int) else _flat(value)
        facts.add_row(f"[bold]{key.replace('_', ' ')}[/]", escape(text))
    console.print(facts)
    for file in document["files"]:
        bits = "" if file["bits_per_weight"] is None else f", {file['bits_per_weight']:.2f} bits per weight"
        console.print(f"\n[bold]{file['type'] or 'unknown type'}[/]  {size(file['size_bytes'])}{bits}")
        for number, path in enumerate(file["paths"]):
            console.print(f"  {escape(path)}", soft_wrap=True)
            if file.get("sha256"):
                console.print(f"  sha256 {file['sha256'][number]}", soft_wrap=True)
        if file.get("memory"):
            console.print(f"  {escape(file['memory'])}", soft_wrap=True)
    if document.get("metadata"):
        console.print("\n[bold]metadata[/]")
        for key, value in document["metadata"].items():
            console.print(f"  {escape(key)} = {escape(str(value))}", soft_wrap=True)
    if document.get("chat_template"):
        console.print("\n[bold]chat template[/]")
        console.print(escape(document["chat_template"]), soft_wrap=True)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
