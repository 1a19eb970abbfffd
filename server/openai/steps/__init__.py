"""Steps between the engine and an answer: `EventListener`s that change events and call the next.

echo_logprobs.py  `EchoLogprobs`: the step that joins a prompt's scores to the choices that echo it. Pure.
pace.py           `Pace`: the step that spreads many events at once over turns of the event loop.
pipeline.py       `run`: a request's events, passed through the steps that it needs on their way to its
                  answer.
"""
