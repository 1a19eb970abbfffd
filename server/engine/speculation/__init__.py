"""Speculative decoding: proposers of drafts, the length that pays, the measured cost of a step.

acceptance.py     `Acceptance`: how often a sequence's guesses have been right, and what that lets expect of a
                  draft.
draft_lengths.py  The lengths of drafts that bring most tokens per second, by expected hits and measured
                  steps. Pure.
in_turn.py        `InTurn`: several proposers, each for the sequences for which those before it have no guess.
measured_gain.py  `MeasuredGain`: whether guesses pay, by the clock, from steps with and without them. Pure.
ngram.py          Prompt lookup: a sequence that repeats a part of itself will probably continue as it did
                  there.
speculation.py    Speculative decoding: drafts are guessed, checked in one step, kept where the model agrees.
step_cost.py      `StepCost`: the time of a step by its tokens, learned from the steps, for budgets and draft
                  lengths.
"""
