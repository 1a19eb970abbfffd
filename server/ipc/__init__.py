"""The contract between the API process and its workers: messages, frames, and a worker's launch.

chat_image.py   `ChatImage`: an image of a chat as its client sent it, on its way to the worker that decodes
                it.
constraint.py   `Constraint`: the form that an answer's content must have, as the client sent it.
frames.py       The codec of the socket between the API process and a worker: 4-byte length, then msgpack.
launch.py       The command line and the environment of a worker, for those that start one.
messages.py     Messages between the API process and a worker: requests to the worker, replies to the API
                process.
model_spec.py   `ModelSpec`, with which a worker is started, and `ModelInfo`, its answer once the model is
                loaded.
parts.py        `parts_of`: a long reply as several that are short, and `joined`, the way back.
prompts.py      Prompts: what a request asks the model to go on from, in the form that the worker gets it.
pulse.py        `Pulse`: the step that a worker's engine is in, and the jobs of its other threads, in shared
                memory.
step_frames.py  `delta_ids`: the requests that a step's frame brings text for, read without making its events.
"""
