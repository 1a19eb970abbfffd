"""Steps between the engine and an answer: `EventListener`s that change events and call the next.

echo_logprobs.py  `EchoLogprobs`: the step that joins a prompt's scores to the choices that echo it. Pure.
pipeline.py       `with_steps`: the steps that a request's events pass on their way to its answer. Pure.
"""
