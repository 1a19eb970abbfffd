"""OpenAI's requests: their schemas, their checks, and their translation for the engine."""
