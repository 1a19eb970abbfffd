"""HTTP endpoints, one file per group; each leaves the work to `server.http` and the service."""
