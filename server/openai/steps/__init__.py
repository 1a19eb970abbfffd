"""Steps between the engine and an answer: `EventListener`s that change events and call the next."""
