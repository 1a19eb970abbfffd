"""Long jobs of a running server, such as pulling and quantizing a model, each in a process of its own.

hub_name.py  `hub_name`: the model that a client wants to be fetched, which is never a path. Pure.
job.py       `Job`: one job's state and events, for anybody who follows it from any event on.
table.py     `JobTable`: the jobs of a server; each runs in a child of low priority, and ends with the server.
"""
