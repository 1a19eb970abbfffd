"""Sizes with which a model is served on a machine: context, layers on GPUs, bytes of each part.

facts.py       `ModelFacts` and `FreeMemory`: what a placement is decided from. Pure.
place.py       `place`: the one decision on context, GPU's share, prompt side and memory of a served model.
               Pure.
placement.py   `Placement`: the sizes with which a model is served, and what each part takes. Pure.
read_facts.py  `read_facts`: the facts about a model's files that `server.placement` needs, in every process.
"""
