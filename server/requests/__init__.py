"""A request's course over several workers: what came of its answer, and how that goes on. Pure.

answer_record.py  `AnswerRecord`: what came of a request's answer, as another worker needs it to go on. Pure.
prefix_key.py     `prefix_key`: the same short text for requests whose prompts begin alike. Pure.
resume.py         `resume`: a request and what came of its answer as the request of the worker that goes on.
                  Pure.
"""
