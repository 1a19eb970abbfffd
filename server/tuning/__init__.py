"""The search for the settings that serve a model fastest on this machine, and the use of its results.

`service.Search` is the way in; `corral serve` and `corral chat` use results through `apply.TunedModels`. No
HTTP here; only `measure`, in its own process, loads llama.cpp.
"""
