"""Servers of several machines behind one address.

api_models.py       `ClusterModels`: a cluster's models as a server serves them, from its start to its end.
calls.py            The bytes of the calls to replicas: requests and questions there, replies and refusals
                    back. Pure.
daemon_call.py      `daemon_call`: awaits a call that may block for ever, in a thread that keeps no process
                    from ending.
fleet.py            `Fleet`: the models of a cluster, as a `ModelService`.
handles.py          The contract between `Fleet` and what places its replicas: deployments, their handles,
                    addresses.
haproxy.py          `haproxy_config`: HAProxy's settings file for several servers, each with the same models.
                    Pure.
link_listener.py    `LinkListener`: the API process's end of its replicas' sockets.
link_messages.py    The messages between a replica and an API process, in the frames of `server.ipc.frames`.
model_file.py       `obtain`: the file that serves a reference on this machine, made first where it is
                    missing.
node.py             `ClusterNode`: this machine's part of a cluster: its files, and the start and end of Ray
                    here.
plan.py             `ClusterPlan`: the deployments and aliases of a cluster, and the changes between two
                    plans. Pure.
plan_file.py        `read_plan`: a `cluster.toml` as a `ClusterPlan`, and one deployment made of flags. Pure.
ray_serve.py        `RayCluster`: a cluster of Ray: what is deployed in it, how it does, and calls to its
                    replicas.
replica.py          `ModelReplica`: the class of a deployment's replicas for Ray Serve, a shell around
                    `ReplicaService`.
replica_run.py      `ReplicaRun`: runs a request in one replica of a deployment, for `RequestHandle`.
replica_service.py  `ReplicaService`: what a replica does with calls to it, around a supervisor with one
                    model.
reply_link.py       `ReplyLink`: a replica's socket to one API process, over which the events of its requests
                    go.
rollout.py          `roll_out`: brings about a plan in a cluster, tells how it goes, and goes back where it
                    fails.
run_table.py        `RunTable`: the requests that an API process has in replicas, and who gets what is said of
                    them.
served_names.py     `ServedNames`: the names of a cluster's models in requests, and what is known of each.
                    Pure.
states.py           `DeploymentReport`: how a deployment does, as `corral cluster status` tells it. Pure.
sums.py             `sum_of_stats`: the counters of several workers as those of one. Pure.
sharing/            `corral cluster share`: this machine computes layers of models that are served elsewhere.
"""
