"""`corral serve`: the server in a terminal, with what it prints on the way."""
