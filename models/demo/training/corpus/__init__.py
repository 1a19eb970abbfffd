"""The demo model's corpus: generated, seeded, and split into what is trained and what is held out.

`Mixture(seed)` yields training documents, `questions()` the held-out evaluation. One file per task; `formats`
has the exact text of the prompt forms. Needs nothing but the standard library.
"""

from __future__ import annotations

from models.demo.training.corpus.exchange import REFUSAL, Chat, Exchange, normalise
from models.demo.training.corpus.formats import EOS, FORMS, prompt, render
from models.demo.training.corpus.heldout import Question, held_out_texts, questions
from models.demo.training.corpus.mixture import Mixture

__all__ = [
    "EOS",
    "FORMS",
    "REFUSAL",
    "Chat",
    "Exchange",
    "Mixture",
    "Question",
    "held_out_texts",
    "normalise",
    "prompt",
    "questions",
    "render",
]
