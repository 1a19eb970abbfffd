"""The loss of a file: perplexity, KL divergence and agreement with a baseline, size and speed.

divergence.py     The divergence of one model's predictions from another's: sums over scored positions. Pure.
drawing.py        The picture of a report as SVG: quality over size, speed over size. Pure.
files.py          The evaluation of files of one model: as many at once as memory takes, then each one's
                  speed.
measure.py        Perplexity of models over a text, and their divergence from a baseline that runs at the same
                  time.
pace.py           The pace of this machine at the products of a 16-bit model in llama.cpp, timed on a small
                  one.
patched_model.py  `PatchedModel`: a 16-bit model in memory whose weights are replaced for as long as texts are
                  run.
report.py         The report of an evaluation: each file's figures, and in words which one to use here. Pure.
service.py        The service that evaluates a model's files and keeps the result: JSON, a picture, the
                  records.
speed.py          The speed of a file on this machine: a prompt of 512 tokens, and tokens one after the other.
windows.py        A text as windows of equal length, run through a model side by side, as llama.cpp's tools do
                  it.
"""
