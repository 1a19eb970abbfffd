"""`make docs` writes docs/cli.md from the commands' help texts; a test finds it outdated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
import typer.main

from server.cli.program import COMMANDS, make_app

PATH = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """\
# Command line

Made from the help texts by `make docs`; change those.

A model reference (REF) is `org/name`, optionally `@revision` and `:TYPE`, a local folder or `.gguf` file, or
`demo`. Types may be written in any case; `8bit`, `5bit` and `4bit` are Q8_0, Q5_K_M and Q4_K_M.

Results go to stdout, everything said along the way to stderr. Exit codes: 0 done, 1 failed (one line on
stderr; `--debug` adds the traceback), 2 wrong usage, 130 interrupted.

| command | |
| --- | --- |
"""


def render() -> str:
    """Return the page."""
    app = make_app(*COMMANDS)
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="corral")
    table = "".join(
        f"| [`corral {name}`](#corral-{name}) | {command.summary} |\n" for name, command in COMMANDS.items()
    )
    sections = [_sections(root.commands[name], name, context) for name in COMMANDS]
    return HEAD + table + "".join(sections)


def _sections(command: Any, name: str, parent: Any) -> str:
    """Return a command's section, or that of each command below it."""
    parts = COMMANDS[name].parts
    if not parts:
        return _section(command, name, parent)
    head = f"\n## corral {name}\n\n{_paragraphs(command.help)}\n"
    return head + "".join(_section(command.commands[part], f"{name} {part}", parent) for part in parts)


def _section(command: Any, name: str, parent: Any) -> str:
    context = command.context_class(command, info_name=name, parent=parent)
    usage = f"corral {name} " + " ".join(command.collect_usage_pieces(context))
    text = f"\n## corral {name}\n\n```\n{usage}\n```\n\n{_paragraphs(command.help)}\n"
    records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [
        f"| `{_cell(names.partition(' <')[0])}` | {_cell(help_text)} |\n"
        for names, help_text in filter(None, records)
    ]
    return text + "\n| | |\n| --- | --- |\n" + "".join(rows)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(block.split()) for block in text.strip().split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page, or with `--check` exit with 1 if it is outdated."""
    page = render()
    if "--check" in sys.argv[1:]:
        if not PATH.is_file() or PATH.read_text(encoding="utf-8") != page:
            sys.exit(f"{PATH} is outdated; run: make docs")
        return
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
