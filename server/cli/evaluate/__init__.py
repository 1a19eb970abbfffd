"""`corral evaluate`: the loss of quantized files, measured, drawn and reported.

command.py  The command `corral evaluate`.
report.py   An evaluation for people: run with progress on stderr, shown as a table with a paragraph of
            advice.
"""
