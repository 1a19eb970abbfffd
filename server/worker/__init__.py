"""The worker process, one per loaded model: inbox, engine, outbox and what runs on llama.cpp."""
