"""The text of a chat before the model: templates, prompt formats, and the renderer of either.

conversation.py      A chat as the built-in prompt formats see it: one system text and turns of two speakers.
                     Pure.
detection.py         The prompt format that a model wants, detected from its metadata and its name. Pure.
prompt_formats.py    The built-in prompt formats, exact texts and stops of models without a chat template, as
                     data. Pure.
render.py            `ChatRenderer`: messages in, prompt out, by a built-in format or by the model's own Jinja
                     template.
template_process.py  A child process that renders a model's Jinja template, with hard limits on time and
                     memory.
templates.py         Chat templates in Jinja, as Hugging Face writes them, compiled and rendered in a sandbox.
                     Pure.
"""
