"""The API process's side of the workers: which models there are, one process per loaded model, its life.

    protocol.py       what the HTTP side asks for: ModelService
    catalogue.py      which models can be asked for, and which file serves a name
    policy.py         pure: time-outs, back-off
    exit_report.py    pure: why a process ended, in one line
    failures.py       pure: a worker's refusals and its death as errors and events
    process.py        one worker process: spawn, frames in and out, end
    hosted_model.py   one model's life: available, loading, ready, restarting, failed, unloading
    memory.py         what loading a model needs and what this machine has
    supervisor.py     all models together: ModelService, eviction, shutdown

Never imports llama.cpp's bindings.
"""
