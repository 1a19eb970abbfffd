"""What makes serving fastest on this machine for one model: measured, kept, and used by `corral serve`.

settings.py   what is chosen            space.py    which values there are here
workload.py   what "fastest" means      plan.py     how much of it one measurement takes
measure.py    the child that measures   session.py  its parent's end          busy.py  the other process
compare.py    better, worse, unclear    proposer.py what to try next (Optuna)
tuner.py      the search in its budget  arena.py    two candidates side by side
machine.py    what a result holds for   stored.py   results on the disk       applied.py  results in use

No HTTP here; only `measure`, in its own process, loads llama.cpp.
"""
