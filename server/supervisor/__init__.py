"""The API process's side of the workers: models, one process per loaded model, and its life.

`supervisor.Supervisor` is the way in; the HTTP side sees it as `protocol.ModelService`. Never imports
llama.cpp's bindings.
"""
