"""What docker/ holds, as data: the Dockerfile's instructions and the compose files' services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = ("compose.cpu.yaml", "compose.cuda.yaml")

Instructions = list[tuple[str, str]]


def dockerfile() -> str:
    return (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str) -> Instructions:
    """In order: name and the rest, with continued lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def values(name: str, found: Instructions) -> list[str]:
    return [rest for other, rest in found if other == name]


def final_stage(found: Instructions) -> Instructions:
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose(name)["services"]["corral"]
    return found
