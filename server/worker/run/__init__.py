"""Running batches on llama.cpp: the engine's `ModelRunner` for each kind of model, and its parts."""
