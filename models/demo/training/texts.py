"""Write the demo model's two texts: one to choose types by, and one that nothing was fitted to.

`calibration.txt` is drawn as training documents are, with a seed of its own; `held_out.txt` are the held-out
questions with their answers, and stories that were asked for in ways training never used.

    python -m models.demo.training.texts
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from models.demo.training.corpus.formats import EOS, Segment, render
from models.demo.training.corpus.heldout import questions
from models.demo.training.corpus.mixture import Mixture

CALIBRATION_SEED = 987_654_321
CALIBRATION_DOCUMENTS = 400
HELD_OUT_SEED = 5


def _text(document: list[Segment]) -> str:
    return "".join(text for text, _ in document).replace(EOS, "\n").strip()


def calibration() -> str:
    """As the model was trained, and so what it will be asked."""
    mixture = Mixture(CALIBRATION_SEED)
    return "\n\n".join(_text(mixture.document()) for _ in range(CALIBRATION_DOCUMENTS)) + "\n"


def held_out() -> str:
    """None of its questions was trained on."""
    random = Random(HELD_OUT_SEED)
    found = questions()
    random.shuffle(found)
    documents = []
    for question in found:
        alpaca = "alpaca" if len(question.chat.turns) == 1 else "alpaca_chat"
        documents.append(_text(render(question.chat, random.choice(("vicuna", alpaca)))))
    return "\n\n".join(documents) + "\n"


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "texts"
    (folder / "calibration.txt").write_text(calibration(), encoding="utf-8")
    (folder / "held_out.txt").write_text(held_out(), encoding="utf-8")


if __name__ == "__main__":
    main()
