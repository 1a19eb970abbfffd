"""Held-out exact match of the demo model, per task and quantization type.

`python -m models.demo.training.evaluate` quantizes the demo model with `corral quantize` into a temporary
folder and asks every held-out question in both prompt forms, greedily. `--gguf-dir DIR` takes the GGUF
files that are in DIR (`*F16*.gguf`, `*Q8_0*.gguf` …) instead. `--write-card` puts the table into the model
card.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from models.demo import DEMO_DIR
from models.demo.training.corpus import Question, questions
from models.machine.child_process import module_command

TYPES = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M")
FORMS = ("vicuna", "alpaca")
CLOSED_WORLD = (
    "capitals", "opposites", "plurals", "colours", "animals", "arithmetic", "days_months", "definitions",
)  # fmt: skip
MAX_TOKENS = 64
STORY_TOKENS = 300
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


class Completer(Protocol):
    """A source of answers: `generate.Generator`, or a script in the tests."""

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[tuple[str, bool]]:
        """Return for each prompt the text, and True if it ended by itself."""


Score = tuple[int, int]  # right, asked
Scores = dict[str, Score]


def story_is_whole(request: str, text: str, ended: bool) -> bool:
    """True if a story names the requested hero, has 40 to 200 words, and ends by itself with a full stop."""
    hero = re.search(r"about an? (?:little )?(\w+)", request)
    named = hero is None or hero[1] in text
    return ended and named and 40 <= len(text.split()) <= 200 and text[-1] in '.!?"'


def score(generator: Completer, asked: Sequence[Question], misses: list[dict[str, str]]) -> Scores:
    """Right and asked by task, by kind (`kind phrasing` …), by form (`form vicuna` …); wrong answers go to
    `misses`.
    """
    scores: Scores = {}
    for form in FORMS:
        for is_story in (False, True):
            group = [question for question in asked if (question.task == "stories") == is_story]
            done = generator.complete(
                [question.prompt(form) for question in group], STORY_TOKENS if is_story else MAX_TOKENS
            )
            for question, (text, ended) in zip(group, done, strict=True):
                right = (
                    story_is_whole(question.chat.turns[-1].user, text, ended)
                    if is_story
                    else ended and text == " " + question.expected
                )
                if not right:
                    misses.append(
                        {
                            "task": question.task,
                            "kind": question.kind,
                            "form": form,
                            "prompt": question.prompt(form),
                            "expected": question.expected,
                            "got": text,
                        }
                    )
                keys = [question.task]
                if not is_story:
                    keys += [f"kind {question.kind}", f"form {form}", "overall"]
                if question.task in CLOSED_WORLD:
                    keys.append("closed world")
                for key in keys:
                    before = scores.get(key, (0, 0))
                    scores[key] = (before[0] + right, before[1] + 1)
    return scores


ROWS = (
    *CLOSED_WORLD, "closed world", "greetings", "refusals", "chats", "systems", "overall", "kind phrasing",
    "kind combination", "kind pair", "form vicuna", "form alpaca", "stories",
)  # fmt: skip
LABELS = {
    "closed world": "**closed-world tasks together**",
    "overall": "**all together**",
    "kind phrasing": "… phrasings never trained",
    "kind combination": "… fact and phrasing never trained together",
    "kind pair": "… numbers never trained together",
    "form vicuna": "… in the Vicuna v1.1 form",
    "form alpaca": "… in the Alpaca form",
    "stories": "stories: about what was asked, whole, ends by itself",
    "days_months": "days and months",
    "chats": "chats of several turns",
    "systems": "system prompts",
}


def table(results: dict[str, Scores]) -> str:
    """The Markdown table: a row per task, a column per type, percent right."""
    types = list(results)
    first = results[types[0]]
    lines = [
        "| held-out questions | asked | " + " | ".join(types) + " |",
        "| --- | --: |" + " --: |" * len(types),
    ]
    for row in ROWS:
        if row in first:
            cells = [f"{100 * results[name][row][0] / results[name][row][1]:.1f} %" for name in types]
            lines.append(f"| {LABELS.get(row, row)} | {first[row][1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_card(text: str, card: Path) -> None:
    """Replace the table between the card's two markers."""
    content = card.read_text()
    before, rest = content.split(BEGIN)
    _, after = rest.split(END)
    card.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def quantize(types: Sequence[str], out: Path) -> None:
    """Make the GGUF files with the project's own quantizer."""
    flags = [part for name in types for part in ("--type", name)]
    command = module_command("server.cli", "quantize", "demo", "--out", str(out), *flags)
    subprocess.run(command, check=True)


def find(folder: Path, name: str) -> Path:
    """The one GGUF file of type `name` in `folder`."""
    found = [path for path in sorted(folder.rglob("*.gguf")) if name.lower() in path.name.lower()]
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} GGUF files named after {name}; exactly one is needed")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", nargs="+", default=list(TYPES), metavar="TYPE")
    parser.add_argument(
        "--gguf-dir", type=Path, help="GGUF files to use instead of running `corral quantize`"
    )
    parser.add_argument("--tasks", nargs="+", help="only these tasks")
    parser.add_argument("--every", type=int, default=1, help="ask only one question in EVERY")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--misses", type=Path, help="write the wrong answers here, as JSON lines")
    parser.add_argument("--write-card", action="store_true", help="put the table into models/demo/README.md")
    options = parser.parse_args()

    from models.demo.training.generate import Generator  # llama.cpp is loaded only to answer

    asked = [q for q in questions() if not options.tasks or q.task in options.tasks][:: options.every]
    results: dict[str, Scores] = {}
    misses: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.gguf_dir or Path(temporary)
        if options.gguf_dir is None:
            quantize(options.types, folder)
        for name in options.types:
            of_type: list[dict[str, str]] = []
            with Generator(find(folder, name), options.threads) as generator:
                results[name] = score(generator, asked, of_type)
            misses += [{"type": name, **miss} for miss in of_type]
            print(f"{name}: {len(of_type)} wrong", file=sys.stderr)
    if options.misses:
        options.misses.write_text("".join(json.dumps(miss) + "\n" for miss in misses))
    print(table(results))
    if options.write_card:
        write_card(table(results), DEMO_DIR / "README.md")


if __name__ == "__main__":
    main()
