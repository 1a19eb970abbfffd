"""HTTP beneath the routes: keys, bodies, logs, and the stream of an answer to its socket."""
