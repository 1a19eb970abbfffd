"""`corral quantize`, `corral merge` and `corral imatrix`: the commands that write models.

calibration.py   `--calibrate`: the moments that a pass rounds by, from their file, or collected from a text
                 first.
collect.py       The collection of moments by a command, with progress; interrupted, it keeps what is summed.
command.py       The command `corral quantize`.
held_out.py      The held-out check of `corral quantize --calibrate`: its flag, and its outcome for people.
imatrix.py       The command `corral imatrix`.
job.py           The steps of `corral quantize`: decide types, quantize with progress on stderr, measure,
                 print.
merge.py         The command `corral merge`.
moments.py       The command `corral moments`.
options.py       The flags of `corral quantize`: the outputs, the run, and the choice of types.
plan_fit.py      The memory that a file will take that `corral quantize --dry-run` plans.
report.py        The outcome of `corral quantize` for people and programs.
sixteen_bits.py  The 16-bit file that a text runs through before `corral quantize` makes others.
text_flags.py    The flags of commands that run a text through a 16-bit model: `corral imatrix` and `corral
                 moments`.
type_choice.py   The options of `corral quantize` about types and size: importance matrix, recipe, or a
                 search.
"""
