"""Anthropic's Messages API: requests in, answers out, for `/v1/messages`. Pure.

blocks.py          `Blocks`: an answer's events as content blocks, which begin, grow and end one after
                   another. Pure.
errors.py          Errors in Anthropic's form: `{"type": "error", "error": {"type", "message"},
                   "request_id"}`. Pure.
models.py          Models in Anthropic's form, and a page of their list. Pure.
response_types.py  Answers and events in Anthropic's form; msgspec encodes them.
stream.py          `MessageEncoder`: an answer of `/v1/messages` as server-sent events. Pure.
whole.py           `WholeMessage`: one whole answer of `/v1/messages`, the fold of its blocks' steps. Pure.
requests/          Requests of Anthropic's Messages API, from their schemas to the engine's messages.
"""
