"""LoRA adapters that come and go while models are served: registry, loading, conversion from PEFT.

converter.py  `AdapterConverter`: PEFT adapters become GGUF files, each once, in a process of its own.
registry.py   `AdapterRegistry`: the LoRA adapters of all models, with names and default scales. Pure.
service.py    `AdapterService`: LoRA adapters come and go while models are served.
"""
