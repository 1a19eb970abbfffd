"""Servers of several machines behind one address.

addresses.py     Addresses of a cluster's machines: as users write them, and whether this machine has them.
api_models.py    `ClusterModels`: a cluster's models as a server serves them, from its start to its end.
daemon_call.py   `daemon_call`: awaits a call that may block for ever, in a thread that keeps no process from
                 ending.
deployments.py   The contract between `Fleet`, replicas and what places these: deployments, addresses of
                 links.
fleet.py         `Fleet`: the models of a cluster, as a `ModelService`.
haproxy.py       `haproxy_config`: HAProxy's settings file for several servers, each with the same models.
                 Pure.
node.py          `ClusterNode`: this machine's part of a cluster: its files, and the start and end of Ray
                 here.
plan.py          `ClusterPlan`: the deployments and aliases of a cluster, and the changes between two plans.
                 Pure.
plan_file.py     `read_plan`: a `cluster.toml` as a `ClusterPlan`, and one deployment made of flags. Pure.
ray_serve.py     `RayCluster`: a cluster of Ray: what is deployed in it, how it does, and what it keeps for
                 all.
rollout.py       `roll_out`: brings about a plan in a cluster, tells how it goes, and goes back where it
                 fails.
served_names.py  `ServedNames`: the names of a cluster's models in requests, and what is known of each. Pure.
sessions.py      Folders of Ray's sockets and logs: found by Ray's processes, and removed after these have
                 ended.
states.py        `DeploymentReport`: how a deployment does, as `corral cluster status` tells it. Pure.
sums.py          `sum_of_stats`: the counters of several workers as those of one. Pure.
link/            Messages and errors between replicas and API processes, and where the latter are found.
peers/           The API process's end: its replicas, who of them gets a request, and the requests that they
                 have.
replica/         The replica's end: one model, served to any number of API processes.
sharing/         `corral cluster share`: this machine computes layers of models that are served elsewhere.
"""
