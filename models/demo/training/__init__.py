"""The making of the demo model: corpus, tokenizer, training and evaluation; see README.md here."""
