"""Quantized checkpoints (GPTQ, AWQ, FP8, MXFP4, compressed-tensors), read as floats.

affine.py              Weights that are stored as small numbers with scales: one for all, per output, per
                       group, per block.
awq.py                 AWQ: weights of 4 bits with a scale and a zero per group of inputs, in four packings.
bit_packing.py         Unpacking of small integers from the 32-bit words in which quantized checkpoints hold
                       them.
bitnet.py              BitNet: weights of -1, 0 and 1, four to a byte, with one scale.
bitsandbytes.py        bitsandbytes: weights of 4 bits in blocks, and of 8 bits with a scale per output.
by_module.py           Settings that differ from module to module: patterns of names, each with what it
                       changes.
compressed_tensors.py  compressed-tensors: weights of 1 to 8 bits or FP8, scaled per tensor, output, group or
                       block.
dequantize.py          A quantized checkpoint seen as one of floats: a TensorSource around the raw one.
detect.py              Detection of quantized checkpoints: tensors say whether they are, settings in which
                       form.
fp8.py                 FP8: weights of 8-bit floats (e4m3 or e5m2), with scales per block, per tensor or per
                       output.
gptq.py                GPTQ: weights of 2, 3, 4 or 8 bits, packed along the inputs, with a scale and a zero
                       per group.
gptq_zeros.py          The zeros of GPTQ: how the packed words of a checkpoint become what is subtracted from
                       the numbers.
hqq.py                 HQQ: weights of 1 to 8 bits in groups along either axis, with scales and zeros.
marlin.py              Marlin's layout of GPTQ and AWQ: 4 bits, a scale per group, in the order of a GPU's
                       threads.
modelopt.py            modelopt: NVFP4, 4-bit integers and FP8, with the scales of inputs by which AWQ smooths
                       them.
mxfp4.py               MXFP4: all experts' matrices in 4-bit floats, each 32 of them with a power of two as
                       their scale.
nvfp4.py               NVFP4: floats of 4 bits (e2m1), two to a byte, in groups of 16 with a scale each, and
                       one over all.
settings.py            The settings of a quantized checkpoint, wherever they were published, in one form.
unused.py              Tensors that no weight needs: scales and zeros of activations and of the KV cache.
"""
