"""The replica's end: one model, served to any number of API processes.

model_file.py       `obtain`: the file that serves a reference on this machine, made first where it is
                    missing.
model_replica.py    `ModelReplica`: the class of a deployment's replicas for Ray Serve, a shell around
                    `ReplicaService`.
replica_link.py     `ReplicaLink`: a replica's socket to one API process: requests come over it, and their
                    events go.
replica_service.py  `ReplicaService`: a replica: a supervisor with one model, which serves any number of API
                    processes.
scaling.py          `replicas_for_load`: the number of replicas that a deployment's load asks for, for Ray
                    Serve. Pure.
"""
