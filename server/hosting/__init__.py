"""Requests in the forms of hosts: the clouds' bodies and the Open Inference Protocol. Pure.

attributes.py   `Attributes`: what a client of SageMaker says beside its body, in a header.
read.py         `read_hosted`: what a body of `/invocations` is for, and the bodies that stand in it. Pure.
shapes.py       `shape_of`: the route that a body is for, told by the names of its members. Pure.
tensors.py      The Open Inference Protocol's bodies as those of `/v1/completions`, and facts of a model.
                Pure.
text_answer.py  `TextAnswer`: texts as the Open Inference Protocol has them: tensors, an object, a stream.
                Pure.
"""
