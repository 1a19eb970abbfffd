"""Serving models: the HTTP API, worker processes, the engine, chat templates, and the command line."""
