"""OpenAI's wire protocol and only that: requests in; chunks, responses and errors out.

answer_parts.py    Thoughts and tool calls in OpenAI's form, for chunks and for whole answers. Pure.
choices.py         `Choices`: the one interpreter of the engine's events. Pure.
chunks.py          `ChunkEncoder`: choice deltas as the chunks of a stream, each a server-sent event. Pure.
errors.py          The error table: every error of ours as the HTTP status and body that OpenAI's clients
                   expect. Pure.
heading.py         The fields that every chunk of an answer, and a whole answer, have in common. Pure.
kept_chat.py       `KeptChat`: a chat completion that is kept when it is complete, streamed or whole.
logprobs.py        The engine's logprobs in OpenAI's two forms: that of chats and that of completions. Pure.
multi_prompt.py    `MultiPrompt`: several `Generate` requests as one source of events, for several prompts at
                   once.
response.py        `WholeAnswer`: one whole answer, the fold of its choice deltas. Pure.
response_types.py  Responses and chunks in OpenAI's form; msgspec encodes them, as one is made per token.
sse.py             Server-sent events as bytes. Pure.
token_answers.py   The answers of the token routes, as JSON made part by part while a worker's reply comes.
                   Pure.
whole_choice.py    `WholeChoice`: one choice of a whole answer, encoded delta by delta. Pure.
requests/          OpenAI's requests: their schemas, their checks, and their translation for the engine.
steps/             Steps between the engine and an answer: `EventListener`s that change events and call the
                   next.
"""
