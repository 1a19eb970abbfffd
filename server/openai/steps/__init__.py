"""Steps between the engine and an answer: `EventListener`s that change events and call the next.

answer_parts.py    `AnswerParts`: a chat's events, with thoughts and tool calls read out of the text.
echo_logprobs.py   `EchoLogprobs`: the step that joins a prompt's scores to the choices that echo it. Pure.
pace.py            `Pace`: the step that spreads many events at once over turns of the event loop.
pipeline.py        `run`: a request's events, passed through the steps that it needs on their way to its
                   answer.
shown_thoughts.py  `ShownThoughts`: the step that puts an answer's thoughts where the client wants them. Pure.
"""
