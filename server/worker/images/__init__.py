"""Images of a chat in the worker: decoded, made ready, and put among the prompt's tokens.

intake.py  `ImageIntake`: a request's images come in before it is prepared: fetched, then read one at a time.
reader.py  `ImageReader`: a chat's images as pieces of a prompt: tokens, and chunks for the projector.
"""
