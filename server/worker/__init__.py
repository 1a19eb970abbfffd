"""One process per loaded model: inbox, engine, outbox."""
