"""The making of the demo model: corpus, tokenizer, training and evaluation; see README.md here.

draft_head.py  Train the demo model's draft head: `python -m models.demo.training.draft_head --work DIR --out
               DIR`.
evaluate.py    Held-out exact match of the demo model, per task and quantization type.
export.py      Turn a training checkpoint into a Hugging Face folder (fp16 safetensors), as `models/demo` is.
generate.py    Complete many prompts greedily with one GGUF file: several sequences in one llama.cpp batch.
model.py       The demo model's network in plain torch, with Hugging Face Llama tensor names and rotary
               layout.
optimizer.py   Muon for the matrices of the layers, AdamW for embeddings and norms.
packing.py     Turn documents into windows of tokens, without padding; each document begins with BOS.
texts.py       Write the demo model's two texts: one to choose types by, and one that nothing was fitted to.
tokenizer.py   Train the demo model's tokenizer: byte-level BPE with Qwen2's pre-tokenizer, 4096 tokens.
train.py       Train the demo model: `python -m models.demo.training.train --work DIR`.
corpus/        The demo model's corpus: generated, seeded, and split into what is trained and what is held
               out.
"""
