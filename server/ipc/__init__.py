"""The contract between the API process and its workers: messages, frames, and a worker's launch."""
