"""`corral serve`: the server in a terminal, with what it prints on the way.

adapters.py       The adapters of `corral serve --lora`, for the model that is served.
banner.py         The lines of `corral serve` in a terminal: a banner when it is ready, and remarks when it
                  stops.
cluster.py        `serve_cluster`: the HTTP API in front of a cluster, which `corral serve --cluster` runs.
command.py        The command `corral serve`.
mounted_model.py  `first_here`: the model to serve where none is named, such as one that a host has mounted.
"""
