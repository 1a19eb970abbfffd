"""Continuous batching in pure Python: no HTTP, no ctypes. `engine.Engine` is the way in.

answer_plan.py      `AnswerPlan` and `AnswerProgress`: the places of thoughts and calls in an answer, told by
                    its text.
answer_text.py      `new_text`: the text of an answer's tokens, one token at a time.
answers.py          `Answers`: generated tokens become an answer's text, up to the one that ends it.
batch.py            The work of one decode as plain data: first the changes to the KV cache, then the tokens.
detokenizer.py      The detokenizer: bytes of tokens to text, one token at a time, in whole characters.
engine.py           The engine: one `step` drafts, schedules, runs and postprocesses a batch over all
                    requests.
event_factory.py    The events and errors that an engine makes of its sequences and requests.
events.py           The events of a request, as the engine makes them and as they travel to the API process.
images.py           Images among a prompt's tokens: the stand-ins for their tokens, and where they are. Pure.
integrity.py        The check that the engine's books agree: after each step in tests, else in idle moments.
patience.py         `Patience`: tells how long a step may take before it counts as a hang. Pure.
repetition.py       `repeats`: tells whether tokens are one passage again and again. Pure.
replay.py           `replay`: brings a new sequence to where another worker has left it, token by token.
request.py          `EngineRequest`: one prompt, already tokens, and how to continue it.
request_table.py    `RequestTable`: the requests that have begun and not ended, and the events that report
                    their course.
resumption.py       `Resumption`: how far a request had come in a worker that died, for the one in which it
                    goes on.
runner.py           `ModelRunner`: the protocol of a model under the engine; llama.cpp in the worker, a script
                    in tests.
sampling_params.py  SamplingParams: how one request's tokens are chosen and when they end, from HTTP to
                    llama.cpp.
sequence.py         One choice of one request while the engine works on it, and the request that its choices
                    make up.
slot.py             `Slot`, a sequence's place in the KV cache, and `Placement`, the decision to put one
                    there.
slot_contents.py    `SlotContents`: what idle slots hold, read and changed between two steps. Pure
                    bookkeeping.
slot_states.py      `SlotState`: what one slot does, for those who watch a server; it has nothing of what
                    clients say.
snapshot.py         A copy of the engine's books between two steps, for tests: sequences, slots, pending
                    changes.
stats.py            `EngineStats`: counters of an engine since its start; `ServiceTime`: how long requests
                    take.
stop.py             `StopChecker`: finds stop strings in text that arrives in pieces, and in tokens that have
                    no text.
prefix/             Shared prefixes: the tokens in the KV cache's slots, and those kept outside, found for a
                    new prompt.
scheduling/         Scheduling: who gets a slot, which tokens the next batch has, in which passes it is
                    computed.
speculation/        Speculative decoding: proposers of drafts, the length that pays, the measured cost of a
                    step.
"""
