"""The clients, one file each: its name is the client's, with `-` for `_`, and registers it.

aider.py           aider: chat completions without tools, set up by its environment.
anthropic.py       The anthropic libraries, and every program that takes their variables.
claude.py          Claude Code: Anthropic's Messages, set up by its environment alone.
codex.py           Codex: OpenAI's Responses, set up by a config.toml in a folder of its own.
home_assistant.py  Home Assistant: chat completions, set up in its own pages.
openai.py          The openai libraries, and every program that takes their variables.
opencode.py        opencode: chat completions, set up by a variable that holds its configuration.
pi.py              pi: chat completions, set up by a models.json in a folder of its own.
zed.py             Zed: chat completions. Its settings have one place, so the user's file is changed, with a
                   backup.
"""
