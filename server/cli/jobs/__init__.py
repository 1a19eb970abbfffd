"""The process in which a running server pulls and quantizes: what `corral pull` and `quantize` do.

process.py  A job's process: one wish as a line of JSON on stdin, its progress and end as lines on stdout.
"""
