"""Rounding that knows the other columns: by whole second moments, errors are made up for.

calibration.py     `Calibration`: what a pass rounds by, the factors of a model's moments, made as tensors
                   need them.
check_memory.py    The memory that the held-out check of calibrated files takes, reckoned before it begins.
                   Pure.
check_time.py      The time that the held-out check of calibrated files takes, reckoned before it begins.
estimate.py        The time that a calibrated pass will take, from pieces and a factor that are made for it.
factor.py          `Factor`: the second moments of a weight's input, made ready for rounding. Pure.
forms.py           ggml's blocks taken apart into the numbers that a rounding chooses, and put together again.
held_out.py        The held-out check of calibrated files: their loss on other texts, beside plain encoding's.
lanes.py           The blocks of a panel in lanes, one for each row: a step is done for all rows at once.
memory.py          The memory that calibrated rounding takes, reckoned before it begins. Pure.
refit.py           The refit of blocks' scales while levels are held: d and dmin, then scales and minima of
                   groups.
rounding.py        The rounding of rows into ggml's blocks by the second moments of their input, not column by
                   column.
tensor_encoder.py  `TensorEncoder`: a whole tensor as a pass would encode it, decoded again, and what it loses
                   by that.
verdict.py         The verdict on a calibrated file: which kinds of tensors lost by it on texts it never saw.
                   Pure.
texts/             The texts that calibration comes with: a mixture to calibrate on, and another that is held
                   out.
"""
