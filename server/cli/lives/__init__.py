"""The commands for a running server's models: `corral ps`, `load` and `unload`.

answers.py  `manage`: a question to a running server's administration, and its answer or its refusal.
load.py     The command `corral load`.
ps.py       The command `corral ps`.
unload.py   The command `corral unload`.
update.py   The command `corral update`.
"""
