"""Requests for vectors and scores, and their answers, in the forms of several protocols.

answers.py  `PooledAnswer`: the fold of a request's `Vectors`, as JSON in the form of its protocol. Pure.
form.py     `AnswerForm`: the form of an answer with vectors or scores, as one of the protocols has it.
inputs.py   The texts of a request, in all the forms that clients send them in, checked by name. Pure.
read.py     `read_pooled`: a body of one of the routes for vectors and scores as a `Pool`, and its form. Pure.
schemas.py  Requests for vectors and scores as clients send them: OpenAI's, TEI's, Jina's, vLLM's and others.
"""
