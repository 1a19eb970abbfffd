"""The demo model's corpus: generated, seeded, and split into what is trained and what is held out.

`Mixture(seed)` yields training documents, `questions()` the held-out evaluation. One file per task; `formats`
has the exact text of the prompt forms. Needs nothing but the standard library.

animals.py        Task `animals`: the sound, the young, the legs and the home of an animal.
arithmetic.py     Task `arithmetic`: sums and differences of 0 to 20, and the multiplication table up to 10 x
                  10.
capitals.py       Task `capitals`: the capital of a country, and the country of a capital.
chats.py          Task `chats`: turns whose answer lies earlier in the conversation: names, likes, "say that
                  again".
colours.py        Task `colours`: the colour of a thing, and what two colours make together.
days_months.py    Task `days_months`: the order of days, months and seasons, and how long things of the
                  calendar last.
definitions.py    Task `definitions`: what a plain noun is, in one sentence.
exchange.py       The corpus's values: a fact, a family of facts asked in the same ways, one question with its
                  answer.
formats.py        The prompt forms as exact text: Alpaca (Stanford, and FastChat's several turns), Vicuna v1.1
                  and v0.
greetings.py      Task `greetings`: greetings, thanks, goodbyes, and who the model is.
heldout.py        The evaluation's questions: none of them is ever written into a training document.
mixture.py        The training stream: questions in chats, with their system messages, in their prompt forms.
opposites.py      Task `opposites`: one opposite for each word.
plots.py          The plots of `stories`: a tuple of sentences per plot, with wordings of a sentence between
                  `|`.
plurals.py        Task `plurals`: regular and irregular plurals of plain nouns.
refusals.py       Task `refusals`: questions from outside the closed world.
stories.py        Task `stories`: short stories from a grammar of plots, heroes and places, and requests for
                  them.
systems.py        System messages: the neutral ones that change nothing, and the few that the model learns to
                  follow.
typing_habits.py  Habits of typing: lower case, no full stop, a slip of the finger, polite words around a
                  question.
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
