"""This machine: its processor, memory and devices, and the fit of a model.

allowance.py       `Allowance`: the time in which work for strangers may have a core as any other work has it.
                   Pure.
child_process.py   Child processes of our own modules: their command, a question to one, its failures in
                   words.
device.py          `Device`: a device that ggml's backends offer, as a value that any process may hold.
fit.py             The memory that a model needs, and how much of it fits where: pure arithmetic on a GGUF's
                   header.
gpu_plan.py        `plan_gpu`: the layers that go to GPUs, and those of them whose experts stay on the host.
                   Pure.
hardware.py        This machine's hardware: processor, memory, and the devices that ggml's backends see.
host_memory.py     The memory and cores this process may use: the machine's, or less where a container limits
                   it.
kernel_file.py     `installed_file`: where set-up puts our matrix kernels, told without loading llama.cpp.
native_facts.py    llama.cpp's account of its build and devices, from a child process.
priority.py        Processes and threads that give way to the others of this machine.
process_limits.py  Limits of this process that the kernel enforces, so that they hold inside native code too.
"""

from __future__ import annotations
