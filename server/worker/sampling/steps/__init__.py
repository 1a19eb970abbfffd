"""Samplers, a file each: when one is active, its part of llama.cpp's chain, and its fast ways.

distribution.py  Distribution: the draw of a token by its probability, at the end of every list that isn't
                 greedy.
dry.py           Dry: the "don't repeat yourself" penalty on what would go on with a repetition.
logit_bias.py    LogitBias: biases that a request adds to the logits of some tokens.
min_p.py         MinP: truncation relative to the likeliest token (arXiv:2407.01082).
mirostat.py      Mirostat: draws so that the text's surprise stays near a target (Basu et al.,
                 arXiv:2007.14966).
penalties.py     Penalties: repeat, frequency and presence penalties over a sequence's last tokens.
step.py          Step, the contract of a sampler, and Adjuster, of the work that NumPy does before all others.
temperature.py   Temperature: greedy at 0, else fixed or moved by the distribution's entropy (dynamic).
top_k.py         TopK: truncation to the likeliest k tokens.
top_n_sigma.py   TopNSigma: truncation by the logits' standard deviation (arXiv:2411.07641).
top_p.py         TopP: nucleus sampling (Holtzman et al., arXiv:1904.09751).
typical_p.py     TypicalP: locally typical sampling (Meister et al., arXiv:2202.00666).
xtc.py           Xtc: "exclude top choices", which drops the likeliest tokens at random.
"""

from __future__ import annotations
