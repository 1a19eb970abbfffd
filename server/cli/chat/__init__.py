"""`corral chat`: a conversation in a terminal, with a local model or a running server."""
