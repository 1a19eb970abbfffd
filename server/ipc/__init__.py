"""The contract between the API process and its workers: messages, their framing, and a worker's launch."""
