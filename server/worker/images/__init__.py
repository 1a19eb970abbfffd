"""Images of a chat in the worker: decoded, made ready, and put among the prompt's tokens.

reader.py  `ImageReader`: a chat's images as pieces of a prompt: tokens, and chunks for the projector.
"""
