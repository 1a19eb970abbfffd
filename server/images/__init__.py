"""Images of chats: their bounds, and the child process that decodes them.

decode.py   `decode`: an image file's bytes as RGB. It runs in `process`, as files come from strangers.
fetch.py    `fetch`: the bytes of an image that a client names by its address, from hosts that are allowed.
limits.py   The bounds on a client's images, from their bytes to the process that decodes them.
picture.py  `Picture`: a decoded image, the sizes that it may have, and the error of one that can't be used.
process.py  The child process that decodes images, with hard limits on time and memory.
"""
