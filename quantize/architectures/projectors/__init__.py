"""The projectors: one file per family, found by itself.

gemma3.py    Gemma 3's projector: a SigLIP tower, squares of whose patches are averaged and normalized.
gemma4.py    Gemma 4's projector: layers like the text model's, positions of two axes; sound is left out.
pixtral.py   Pixtral's projector, of LLaVA's form and Mistral 3's: rotary positions, rows that end with a
             token.
qwen2_vl.py  The projectors of Qwen2-VL and Qwen2.5-VL: layers with rotary positions, four patches to a token.
qwen3_vl.py  The projector of Qwen3-VL and Qwen3.5: learned positions, and features for deeper layers.
smolvlm.py   The projector of Idefics 3 and SmolVLM: a SigLIP tower, squares of whose patches are joined.
"""
