"""`corral show PRESET`: what a preset of the settings file makes of requests, and who serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from server.cli.settings import read_settings, settings_file


def preset_document(name: str, config_file: Path | None) -> dict[str, Any] | None:
    """Return a preset of the settings file as JSON has it; None where the file has none of that name.

    Raises ConfigError for a bad file.
    """
    if settings_file(config_file) is None:
        return None
    preset = read_settings({}, config_file).presets.find(name)
    if preset is None:
        return None
    return {
        "name": preset.name,
        "object": "preset",
        "description": preset.description or None,
        "sticky": preset.sticky,
        "arms": [
            {
                "name": target.arm or target.model,
                "model": target.model,
                "share": round(target.share, 6),
                "adapters": target.adapters,
                "layers": [msgspec.to_builtins(layer) for layer in target.layers],
                "place": target.place,
            }
            for target in preset.targets
        ],
    }


def print_preset(document: dict[str, Any]) -> None:
    """Print it for people."""
    from rich.markup import escape

    from server.cli.console import out

    console = out()
    console.print(f"[bold]{escape(document['name'])}[/]  {escape(document['description'] or '')}".rstrip())
    for arm in document["arms"]:
        share = "" if len(document["arms"]) == 1 else f"{escape(arm['name'])}, {100 * arm['share']:g} %: "
        console.print(f"\n{share}served by [bold]{escape(arm['model'])}[/]", soft_wrap=True)
        console.print(f"  {escape(arm['place'])}", soft_wrap=True)
        for name, scale in arm["adapters"].items():
            console.print(f"  adapter {escape(name)}, scale {scale:g}")
        for layer in arm["layers"]:
            for line in _lines(layer):
                console.print(f"  {escape(line)}", soft_wrap=True)


def _lines(layer: dict[str, Any]) -> list[str]:
    lines = [
        f"{kind} {name} = {msgspec.json.encode(value).decode()}"
        for kind in ("force", "default")
        for name, value in layer[kind].items()
    ]
    lines += [f"strip {name}" for name in layer["strip"]]
    if layer["system"] is not None:
        lines.append(f"system, {layer['system_mode']}: {layer['system']}")
    return lines
