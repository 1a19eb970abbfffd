"""Images of chats: their bounds, and the child process that decodes them.

address.py        `check_address`: only http(s) addresses of hosts that are allowed are fetched. Pure.
decode.py         `decode`: an image file's bytes as RGB. It runs in `process`, as files come from strangers.
fetch.py          `fetch`: the bytes of an image that a client names by its address, from hosts that are
                  allowed.
fetch_process.py  `ImageFetcher`: has the images of requests fetched side by side, by a child process
                  (`fetching`).
fetching.py       The child process that fetches images, each request's in a task of its own. See
                  `fetch_process`.
limits.py         The bounds on a client's images, from their bytes to the processes that fetch and decode
                  them.
picture.py        `Picture`: a decoded image, the sizes that it may have, and the error of one that can't be
                  used.
pipe.py           Parts on the pipes between a worker and the children that see to images: a length, then
                  bytes.
process.py        The child process that decodes images, with hard limits on time and memory.
"""
