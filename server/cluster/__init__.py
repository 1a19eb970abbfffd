"""Servers of several machines behind one address.

calls.py            The bytes of the calls to replicas: requests and questions there, replies and refusals
                    back. Pure.
fleet.py            `Fleet`: the models of a cluster, as a `ModelService`.
handles.py          The contract between `Fleet` and what places its replicas: deployments, their handles,
                    addresses.
haproxy.py          `haproxy_config`: HAProxy's settings file for several servers, each with the same models.
                    Pure.
link_listener.py    `LinkListener`: the API process's end of its replicas' sockets.
link_messages.py    The messages between a replica and an API process, in the frames of `server.ipc.frames`.
replica_run.py      `ReplicaRun`: runs a request in one replica of a deployment, for `RequestHandle`.
replica_service.py  `ReplicaService`: what a replica does with calls to it, around a supervisor with one
                    model.
reply_link.py       `ReplyLink`: a replica's socket to one API process, over which the events of its requests
                    go.
run_table.py        `RunTable`: the requests that an API process has in replicas, and who gets what is said of
                    them.
served_names.py     `ServedNames`: the names of a cluster's models in requests, and what is known of each.
                    Pure.
sums.py             `sum_of_stats`: the counters of several workers as those of one. Pure.
sharing/            `corral cluster share`: this machine computes layers of models that are served elsewhere.
"""
