"""The commands for stored models: `corral pull`, `list`, `show` and `remove`.

import_models.py  The command `corral import`.
list_models.py    The command `corral list`.
model_rows.py     Rows of `corral list` and `corral show` for stored models: plain dictionaries, ready to
                  print.
pull.py           The command `corral pull`.
remove.py         The command `corral remove`.
search.py         The command `corral search`.
show.py           The command `corral show`.
show_preset.py    `corral show PRESET`: what a preset of the settings file makes of requests, and who serves
                  them.
what.py           `corral pull --what`: a model of the Hub is described before it is downloaded.
"""
