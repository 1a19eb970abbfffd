"""The requests that clients send, small and self-made, and what they need of the answers, by protocol.

chat.py       The shapes of chat completions, as opencode, pi, aider, Zed and Home Assistant send them.
messages.py   The shapes of Anthropic's Messages, as Claude Code and the anthropic libraries send them.
models.py     Requests that every client may begin with: a sign of life and the list of models.
responses.py  The shapes of OpenAI's Responses, as Codex sends them.
shape.py      `Shape`: one thing that a client sends and needs answered; `Missing` says what a server lacks of
              it.
"""
