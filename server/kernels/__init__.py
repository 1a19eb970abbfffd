"""Matrix kernels of our own, which ggml's CPU backend calls as one more place for weights.

abi.py              The comparison of what the kernels' library was compiled against with what is loaded here.
attention_check.py  The check of the attention kernels against ggml's own, on random caches: a few
                    milliseconds.
check.py            The check of one format's kernels against ggml's own, on random blocks: a few
                    milliseconds.
doctor.py           The kernels' part of `corral doctor`: they are opened and checked in a child process.
front.py            `Kernels`: the kernels of this process after all checks, or the reason why there are none.
gelu_check.py       The check of GELU's kernels against ggml's own: a millisecond.
outlook.py          `expects_panels`: tells, without loading llama.cpp, if a worker will use our kernels for a
                    model.
samples.py          Random weights in ggml's blocks that have every bit pattern of scales and weights, and
                    activations.
timing.py           The timing that decides between our kernels and ggml's own, on processors where either may
                    win.
use.py              The use of the kernels for one model, by the setting `kernels`, and the report of what
                    came of it.
"""
