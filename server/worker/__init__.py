"""The worker process, one per loaded model: inbox, engine, outbox and what runs on llama.cpp.

__main__.py         `python -m server.worker --fd N`: one model's process, started by the supervisor.
adapter_set.py      `AdapterSet`: the LoRA adapters that one worker has loaded, by id, and the requests that
                    need them.
channel.py          A worker's blocking end of the socket to the API process.
chat_borders.py     The borders of prompts: the places where later ones are likely to leave them.
guides.py           `AnswerGuides`: the grammar and the parts of answers, made of tools, constraint and
                    thoughts.
inbox.py            `Inbox`: the thread that reads the socket, and hands each message to the engine or to a
                    lane.
infill.py           `InfillPrompts`: the tokens of a text with a gap, cut to what the context has room for.
lanes.py            `Lanes`: the threads that prepare requests, with own ones for short ones, grammars and
                    images.
outbox.py           `Outbox`: sends the engine's events, in at most one message per step and fewer when steps
                    are quick.
pending.py          `Pending`: the requests that are being prepared, each handed on or answered exactly once.
prompt_tokens.py    `PromptTokens`: a prompt's text, with or without images, as tokens, and whether they have
                    room.
prompts.py          `PromptReader`: chats are rendered, prompts tokenized, small questions answered beside the
                    engine.
resumed_request.py  `resumed`: a request that has begun in a worker that died, as the engine goes on with it.
shortened_chat.py   `shortened`: a chat without its oldest messages, so that it fits the context. Pure.
slot_files.py       `SlotChanges`: what slots hold, kept in files, brought back and dropped when a client says
                    so.
worker.py           `Worker`: it loads a model, takes requests from the inbox, steps the engine, sends its
                    events.
constraints/        The forms that a request's answer must have, compiled for a vocabulary.
images/             Images of a chat in the worker: decoded, made ready, and put among the prompt's tokens.
open/               Loading a model: its kind is decided once, and the opener of that kind makes its frozen
                    parts.
pooled/             Vectors and scores of texts.
prefix/             Prefixes kept on disk over restarts: files, their index in memory, and which of them fit a
                    model.
run/                Running batches on llama.cpp: the engine's `ModelRunner` for each kind of model, and its
                    parts.
sampling/           Sampling: all rows of a step at once, with the tokens that llama.cpp's own chain would
                    give.
"""
