"""Presets: names for loaded models, with parameters, a system prompt, adapters, and weighted arms.

apply.py       `apply_layers` and `prepare`: a request's body as the preset that it names has it. Pure.
body.py        `Body`: the JSON object of a request, whose members are changed one by one. Pure.
book.py        `PresetBook`: the presets of a running server, which a reload replaces as a whole.
check.py       `check_layers`: what presets set, as the protocols' own readers see it. Pure.
forms.py       `form_in`: the form of an answer that a preset sets, as each protocol's requests ask for it.
               Pure.
parameters.py  The parameters that a preset may set, and their place in each protocol's request. Pure.
read.py        `read_presets`: the `presets` of a settings file as a `PresetTable`. Pure.
reload.py      `SettingsReload`: reads the settings file again: presets are taken over, the rest needs a
               restart.
section.py     The `presets` of a settings file as their writer has them, typed and checked.
service.py     `PresetService`: a model service that also knows the presets, by their names.
system.py      `put_system`: a preset's system prompt in a request of any protocol that has one. Pure.
table.py       `PresetTable`: all presets of the settings, and the choice of the arm that serves a request.
               Pure.
toml_lines.py  `line_of`: the line of a TOML file in which a value is. Pure.
"""
