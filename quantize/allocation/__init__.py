"""The allocation of types for a size that the user wants: each tensor's, so that the least is lost.

candidates.py    The candidates of an allocation: the types that a tensor may get, and the bytes of each.
                 Pure.
choose.py        The choice of types for a size: from a planned file to candidates, their losses and the best
                 recipe.
search_types.py  The search for a file's types at a given size: importance matrix, trials, a recipe that is
                 kept.
sensitivity.py   The sensitivity of tensors: a weighted error each, scaled by what a trial of its group really
                 cost.
solve.py         The solver of an allocation: least loss within a size, as a multiple-choice knapsack for
                 HiGHS.
trial.py         Trials: a tensor of a loaded 16-bit model encoded as a type would, and what that changes.
"""
