"""`corral quantize`, `corral merge` and `corral imatrix`: the commands that write models."""
