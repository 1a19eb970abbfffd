"""Loading a model: its kind is decided once, and the opener of that kind makes its frozen parts.

decoder.py          The opener of decoder models: one context for all slots, and all that can go with it.
device_sampling.py  The choice whether rows of logits stay on the GPU that computes them, as measured on this
                    machine.
encoder_decoder.py  The opener of models with an encoder before their decoder, as T5: one context per slot.
heads.py            The openers of heads that draft: those in files of their own, and layers of the model's
                    file.
kinds.py            The kinds of model that a worker can be given, and the opener of each.
loading.py          `load`: makes a `ModelSpec` a model that is loaded, warm and described.
parts.py            The frozen parts of a served model, and what the openers of all kinds have in common.
pooled.py           The opener of models that make vectors or scores: encoders, causal embedders,
                    cross-encoders.
servers.py          The servers that compute a part of a split model: asked what they have, then connected to.
step_times.py       `measure_steps`: the time of a few sizes of steps in a new context, for the engine's
                    `StepCost`.
warm_up.py          `warm_up`: computes once in a new context, and measures what its memory can do.
"""
