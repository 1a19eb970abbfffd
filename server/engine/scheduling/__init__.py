"""Scheduling: who gets a slot, which tokens the next batch has, in which passes it is computed.

adapter_turns.py  `AdapterTurns`: a step has one set of LoRA adapters; the sets of live sequences take turns.
                  Pure.
admission.py      `Admission`: which of the waiting sequences gets the next slot, and with what of its prompt.
                  Pure.
entries.py        The entries of a batch: what one sequence has computed in a step.
fair_share.py     `FairShare`: owners of requests get equal shares of the tokens that are computed. Pure; no
                  clock.
idle_work.py      `IdleWork`: the books of requests that are computed only while there are no others. Pure.
kv_layout.py      `KVLayoutPolicy`: the steps at which slots begin and cease to share the KV cells. Pure.
passes.py         `Passes`: the passes through the weights of a step, and the rows of nothing that make them
                  fewer.
precedence.py     `Precedence`: who goes first: by priority, then by the owners' shares, then by arrival.
                  Pure.
prompt_budget.py  `PromptBudget`: the most tokens of prompts in a step, so that no stream stalls. Pure; no
                  clock.
scheduler.py      The scheduler: which sequences get a slot, and which tokens the next batch has. Pure; no
                  clock.
"""
