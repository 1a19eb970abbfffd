"""The search for the settings that serve a model fastest on this machine, and the use of its results.

`service.Search` is the way in; `corral serve` and `corral chat` use results through `apply.TunedModels`. No
HTTP here; only `measure`, in its own process, loads llama.cpp.

apply.py          `TunedModels`: settings that the user has not chosen come from the stored results of `corral
                  tune`.
busy.py           Other use of the processor: one busy process of ours, as a browser or a compiler is, or
                  others'.
machine.py        The machine and the build of llama.cpp that a result holds for.
measure.py        `python -m server.tuning.measure`: the process that loads a model with some settings and
                  times it.
messages.py       The messages between the measuring process and its parent: one JSON document per line.
paired_runner.py  `PairedRunner`: two candidates measured side by side, and the verdict on their gains.
plan.py           The part of the workload in one measurement: enough to time well, little enough for many.
                  Pure.
proposer.py       `Proposer`: the next settings to try, first each value once in the best so far, then
                  Optuna's TPE.
result_store.py   The results of `corral tune` on the disk: a JSON file per machine and model in
                  CORRAL_HOME/tuning.
service.py        `Search`: a search for one model file on this machine, from its parts to its result.
session.py        The parent's end of one measuring process.
settings.py       `Settings`: one choice of everything that `corral tune` may choose.
space.py          The settings that are worth trying on this machine. Pure.
tuner.py          The search within its budget: propose, compare with the best so far, keep the better.
workload.py       The workload that tuning makes fast, and one number for how fast it goes. Pure.
"""
