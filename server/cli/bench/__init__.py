"""`corral bench`: loads against an OpenAI-compatible server, their progress and their report."""
