"""Vectors and scores of texts.

engine.py        `PooledEngine`: many requests for vectors share each step of one `PooledRunner`.
idle_thread.py   `IdleThread`: computes with what others leave of the cores, while another model writes an
                 answer.
pace.py          `Pace`: how many tokens a step may have, and whether it has what others leave of the cores.
                 Pure.
pairs.py         `PairFormat`: two texts as the one that a classifier reads, joined as transformers do. Pure.
prompts.py       `TextPrompts`: the texts that a model wants before a query or a document, by its file. Pure.
reader.py        `PooledReader`: makes a client's `Pool` a `PooledRequest`: prompts before, tokens, lengths
                 checked.
refusals.py      The refusals of requests that are for another kind of model.
request.py       `PooledRequest`: texts, already tokens, and the form of the vectors or scores that are made
                 of them.
runner.py        `PooledRunner`: puts texts through one context, many at a time; makes a vector or scores of
                 each.
segments.py      `SegmentEmbeddings`: token embeddings that say which of two texts a token is of, for BERT's
                 pairs.
step_threads.py  `StepThreads`: a step of texts with as many threads as are quickest just now.
turns.py         `Turns`: whose text is next, among requests for vectors of several owners. Pure; no clock.
vectors.py       Vectors' lengths and norms, and their cosines. Pure.
"""
