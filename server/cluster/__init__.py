"""Servers of several machines behind one address.

handles.py  The contract between `Fleet` and whatever places its replicas: deployments, their handles,
            addresses.
haproxy.py  `haproxy_config`: HAProxy's settings file for several servers, each with the same models. Pure.
"""
