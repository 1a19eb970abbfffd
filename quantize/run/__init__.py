"""Running a plan: tensors are read, encoded and written in parallel, resumable and within memory.

encode.py         The encoding of one block of rows: read, transformed, widened to f32, encoded for every
                  output.
journal.py        The journal of a work folder, and the thread that keeps it: tensors that are on the disk for
                  good.
memory_budget.py  The memory that a pass takes, known before it begins: the program's, and a block for every
                  thread.
options.py        The options of a pass: how many threads, how much memory, in which order and parts it
                  writes.
pipeline.py       The pass that carries out a plan: threads that read, transform, encode and write blocks.
writer.py         The writer of one output, in one file or in parts: every byte has its place from the start.
"""
