"""Servers of several machines behind one address.

haproxy.py  `haproxy_config`: HAProxy's settings file for several servers, each with the same models. Pure.
"""
