"""HTTP endpoints, one file per group; each is thin and leaves the work to `server.http` and the service."""
