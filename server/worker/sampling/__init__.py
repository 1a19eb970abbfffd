"""Sampling: all rows of a step at once, with the tokens that llama.cpp's own chain would give.

candidates.py          find_candidates: the few entries of each row of logits that can be sampled, of all rows
                       together.
chain.py               STEPS, all samplers in llama.cpp's order; a request's list of them, and llama.cpp's
                       chain of a list.
defaults.py            `with_defaults`: a request's sampling parameters, with defaults for what it leaves
                       open. Pure.
device_rows.py         DeviceRows: rows of logits stay on the device, and only their k largest entries come to
                       the host.
fast_path.py           FastPath: the quickest way to sample a request with the tokens that llama.cpp's chain
                       would give.
probabilities_left.py  `ProbabilitiesLeft`: the probabilities with which tokens were drawn, behind all
                       samplers.
row_bans.py            `RowBans`: the tokens that a grammar rules out in a row of logits, of llguidance's
                       bits. Pure.
row_samplers.py        RowSamplers: choose the tokens of all rows of logits of a step at once.
sequence_guide.py      `SequenceGuide`: one sequence's grammar, the tokens forced on it, and the mask of its
                       next rows.
sequence_sampler.py    SequenceSampler: one sequence's sampling state between steps of the engine.
time_account.py        `TimeAccount`: the computing that an answer's grammar has taken, against what it may
                       take. Pure.
token_bans.py          `TokenBans`: finds the tokens that grammars rule out, before or while the model
                       computes.
whole_row.py           WholeRow: draws from the softmax of whole rows, with llama.cpp's random numbers.
steps/                 Samplers, a file each: when one is active, its part of llama.cpp's chain, and its fast
                       ways.
"""

from __future__ import annotations
