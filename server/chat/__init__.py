"""The text of a chat before the model: templates, prompt formats, and the renderer of either.

begun_answer.py       An answer that the client has begun, for the model to continue: which requests have one.
                      Pure.
call_ids.py           The ids of tool calls: ours, which never repeat, and in them the model's own. Pure.
content_parts.py      The parts of a message's content: their text, or a refusal that names what can't be
                      read. Pure.
continued_prompt.py   The prompt that ends with an answer's first words, so that the model continues the
                      answer. Pure.
conversation.py       A chat as the built-in prompt formats see it: one system text and turns of two speakers.
                      Pure.
declared_names.py     `declare_names`: a tool's schema declares each property that it requires, wherever it
                      says so. Pure.
delivery.py           `CheckedTemplate`: a template whose prompts have every message, or the chat is refused.
                      Pure.
detection.py          The prompt format that a model wants, detected from its metadata and its name. Pure.
generic_tools.py      Tools for models whose template knows none: the prompt teaches them a format in plain
                      words. Pure.
history.py            The calls and results in a chat's messages: their canonical form, and which belong
                      together. Pure.
images.py             `ChatImages`: the images of one chat, taken out of its contents, and a mark for each.
                      Pure.
jinja_environment.py  The sandbox of chat templates: Hugging Face's settings, filters and functions. Pure.
message_changes.py    The changes that let a strict chat template take a chat: each moves as few messages as
                      it can. Pure.
named_templates.py    Chat templates by the names that llama.cpp has for them, and what `--chat-template` may
                      be. Pure.
plain_definitions.py  `plain_definition`: a tool's definition for templates that expect more than JSON Schema
                      says. Pure.
prompt_formats.py     The built-in prompt formats, exact texts and stops of models without a chat template, as
                      data. Pure.
render.py             `ChatRenderer`: messages in, prompt out, by a built-in format or by the model's own
                      Jinja template.
response_schemas.py   A JSON schema in the prompt: in the form that a template shows, or in the system text.
                      Pure.
result_fields.py      Results as a field of the message with their calls, as Gemma 4's first template reads
                      them. Pure.
sound_schemas.py      `sound_schema`: a tool's schema without what isn't JSON Schema, for grammars and
                      readers. Pure.
template_file.py      `read_template`: the chat template that a user gives in a file, in place of the model's
                      own.
template_pool.py      `TemplatePool`: child processes that render one template, so that a long chat holds up
                      no other.
template_process.py   A child process that renders a model's Jinja template, with hard limits on time and
                      memory.
template_prompt.py    `TemplatePrompt`: what a template makes of a chat, and how the answer is to be read.
                      Pure.
templates.py          Chat templates in Jinja, as Hugging Face writes them, compiled and rendered in a
                      sandbox. Pure.
thinking.py           `Thinking`: what a request wants of a reasoning model's thoughts. Pure.
thought_blocks.py     The marks that open and close a block of thoughts, in the chat templates of reasoning
                      models. Pure.
tool_definitions.py   The tools that a client defines, checked: names, schemas of arguments, number and size.
                      Pure.
tool_habits.py        `ToolHabits`: what a chat template does with tools and calls, found out by rendering
                      marks. Pure.
tools.py              The tools that a request offers, and which of them the answer may or must call. Pure.
tool_formats/         Tool calls: their formats, chosen by the template's text, with grammars and readers.
"""
