"""Running batches on llama.cpp: the engine's `ModelRunner` for each kind of model, and its parts.

adaptive_threads.py  `AdaptiveThreads`: a number of threads for steps, fewer while other programs want the
                     cores.
context_decoder.py   `ContextDecoder`: puts batch entries through one llama.cpp context and says where their
                     results are.
decode_outputs.py    `DecodeOutputs`: the results of a decode's rows of logits: tokens, logprobs, prompt
                     scores.
decode_strategy.py   The ways to decode a step: all at once, prompts apart, by length, or prompts in another
                     context.
draft_cells.py       `plan_cells`: whose tokens have room in the cells of what drafts. Pure.
draft_head.py        `HeadProposer`: a head, trained for the served model, that guesses from its hidden
                     states.
draft_model.py       `DraftProposer`: a smaller model of the same vocabulary guesses what the served one says
                     next.
encoder_decoder.py   `EncoderDecoderRunner`: the engine's `ModelRunner` for models with an encoder, as T5.
hidden_state_log.py  `HiddenStateLog`: what the served model made of each slot's latest tokens, for a head
                     that drafts.
image_step.py        `ImageStep`: computes an image of a prompt: encoded by the projector, then decoded by the
                     model.
kv_layout.py         `KVLayout`: how a context's KV cells are divided among its slots, changed while it
                     serves.
kv_slots.py          `KVSlots`: changes of the slots of a llama.cpp context, and their states in the prefix
                     store.
logprobs.py          Log-probabilities of tokens in the model's own distribution, from rows of logits.
positions.py         `SlotPositions`: where a slot's tokens stand, where images take fewer positions than
                     cells.
prefill_context.py   `PrefillContext`: a second context that computes prompts, on the weights as the file has
                     them.
runner.py            `LlamaRunner`: the engine's `ModelRunner` for decoder models: one context for all slots.
"""
