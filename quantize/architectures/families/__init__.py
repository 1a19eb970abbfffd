"""The model families: hyper-parameters to GGUF keys, tensor names and transforms, cousins in one file.

The registry finds every family in here by itself.

afmoe.py            Arcee's AFMoE (Trinity): gated attention, norms on both sides, experts weighed by the
                    sigmoid.
apertus.py          Apertus: norms of each head's query and key, a feed-forward without gate, and the
                    activation xIELU.
arcee.py            Arcee's AFM: Llama whose feed-forward has no gate and squares what is positive.
arctic.py           Snowflake Arctic: beside each layer's dense feed-forward a mixture of experts, on the
                    layer's input.
baichuan.py         Baichuan 1 and 2: Llama with q, k and v in one matrix, rotary or (13 B) with ALiBi.
bailing.py          Ling and Ring (Bailing) and Sarvam: mixtures of experts with q, k and v in one matrix.
bailing_moe3.py     Ling 3: delta attention with a bounded decay, gated latent attention, groups of experts.
bert.py             BERT, RoBERTa and XLM-RoBERTa: embeddings, classifiers and rerankers, llama.cpp's `bert`.
bitnet.py           BitNet b1.58: matrices of -1, 0 and 1 times one number, norms within attention and
                    feed-forward.
bloom.py            BLOOM: linear attention biases (ALiBi), a norm on the embedding, q, k and v fused head by
                    head.
chameleon.py        Chameleon's text: Llama with norms, and shifts, of each head's query and key; it draws no
                    images.
chatglm.py          ChatGLM 2 and 3 and GLM-4 in their makers' own code: `ChatGLMModel` with names of its own.
cohere2_moe.py      Cohere 2's mixtures of experts: Command A+, with dense layers first and experts in all
                    behind them.
command_r.py        Command-R, Command-R+ and Aya (Cohere 1), and Command-R7B (Cohere 2).
dbrx.py             DBRX: norms without shifts, clipped q, k and v in one matrix, experts one below the other.
deci.py             DeciLM 7B and Nemotron NAS (51B, Super 49B, Ultra 253B): Llama whose layers differ or lack
                    parts.
deepseek.py         DeepSeek's mixtures of experts: the first one (DeepSeek-MoE), and what those after it
                    share with it.
deepseek2.py        DeepSeek-V2 (and Lite) and V3: latent attention, experts.
deepseek32.py       DeepSeek V3.2: V3's latent attention to a few tokens only, which an indexer chooses for
                    each query.
distilbert.py       DistilBERT: BERT without types of tokens, under names of its own.
dots1.py            dots.llm1: Qwen 3's attention without grouped queries, DeepSeek's experts.
dots3.py            Dots 3 Note, text only: latent attention of two sizes, an indexer in some layers, windows.
eagle3.py           EAGLE-3 heads: one layer that guesses a model's next tokens from the model's own hidden
                    states.
embedding_gemma.py  EmbeddingGemma: Gemma 3 whose tokens attend to later ones, too; dense layers follow the
                    pooling.
ernie.py            ERNIE 4.5 and its mixtures of experts, without the layers that predict further tokens.
eurobert.py         EuroBERT, and Jina's embeddings v5 built on it: Llama's shape, looking ahead, too.
exaone.py           LG's EXAONE 3 to 4.5, and its mixture of experts.
falcon.py           Falcon 7B, 40B, 180B and 11B: attention and feed-forward side by side, few key-value
                    heads.
falcon_h1.py        Falcon-H1: in each layer attention and a state space of Mamba 2, side by side.
gemma.py            Gemma 1 and 2: norms whose weights are added to one, tied embeddings, GELU.
gemma3.py           Gemma 3, text only: Gemma 2 with norms of queries and keys instead of soft caps.
gemma3n.py          Gemma 3n, text only: four streams (AltUp), side paths of low rank (LAuReL), embeddings per
                    layer.
gemma4.py           Gemma 4, text only: layers of two kinds, whose heads, frequencies and key-value heads
                    differ.
glm.py              GLM-4 as transformers has it: `GlmForCausalLM` (GLM-4-9B) and `Glm4ForCausalLM`
                    (GLM-4-0414).
glm4_moe.py         GLM-4.5 and later mixtures of experts, the text model of the one that sees, and Solar
                    Open.
glm5.py             GLM-4.7-Flash and GLM-5: DeepSeek's latent attention and experts with GLM's tokenizer.
gpt2.py             GPT-2: learned positions, layer norms, weights stored as columns (Conv1D); and ruGPT-3 XL.
gpt_oss.py          OpenAI's gpt-oss: experts with biases and a clamped gate, attention sinks, windows.
gptneox.py          GPT-NeoX and Pythia: attention and feed-forward side by side, heads rotated in part.
granite.py          Granite 3, and Granite with windows: Llama with four multipliers; mixtures have gate and
                    up in one.
granite_hybrid.py   Granite 4 and Bamba: a few layers attend, the others are state spaces of Mamba 2.
grok.py             Grok 1 and 2: experts with GELU, four norms in a layer, capped attention and router,
                    scaled outputs.
grovemoe.py         GroveMoE: Qwen 3's mixture of experts, with a small expert that each pair of them shares.
hrm_text.py         HRM-Text: two stacks of layers, low and high, that are gone through in turns, many times.
hunyuan.py          Tencent's Hunyuan: dense, the text model of the one that sees, mixtures of experts, and
                    Hy3.
internlm2.py        InternLM2 and 2.5: Llama with queries, keys and values of each group of heads fused in one
                    matrix.
jais.py             Jais: GPT-2 with ALiBi, a gated feed-forward, and scaled embeddings and logits.
jais2.py            Jais 2: layer norms, biases, and a feed-forward without gate that squares what is
                    positive.
jamba.py            Jamba: state spaces of Mamba 1, some layers that attend without positions, and experts in
                    some.
jina_bert.py        JinaBERT (Jina's embeddings v2, its rerankers v1): ALiBi for positions, gated feed-forward
                    layers.
kimi.py             Kimi's models that see, text only: DeepSeek V3 with the fields and names of a part. Kimi
                    K2 is a V3.
kimi_linear.py      Kimi Linear: delta attention with a decay per channel, and latent attention without
                    positions.
laguna.py           Laguna: windows in some layers with other rotation and more heads, gates behind attention,
                    experts.
lfm2.py             LFM2: most layers are short convolutions over tokens, others attend; experts; embedders.
llama.py            Llama 1 to 3.x and the models made from them (Alpaca, Vicuna, Koala, WizardLM …), and
                    Mistral.
llama4.py           Llama 4, text only: experts in some layers; every fourth sees everything, without
                    rotation.
llama_inside.py     Models that see or hear around a Llama or a Mistral, of which the text part is taken.
maincoder.py        Maincoder: Llama that rotates neighbours, with norms of queries and keys behind the
                    rotation.
mamba.py            Mamba 1 and 2, and Falcon Mamba: nothing but state spaces.
maple.py            Maple: experts everywhere, and windows in some layers; those without don't rotate.
mellum.py           Mellum 2: Qwen 3's mixture of experts with a window in some layers, where YaRN doesn't
                    stretch.
mimo2.py            MiMo V2 Flash: windows with sinks and more key-value heads in most layers; experts; short
                    values.
minicpm.py          MiniCPM 1, 2 and 4: Llama with scales of the embedding, of each layer's addition and of
                    the logits.
minicpm3.py         MiniCPM 3: DeepSeek's latent attention, with the matrix that makes keys and values as it
                    is.
minimax.py          MiniMax M2 and M3: Mixtral's names, norms of queries and keys, experts that are chosen by
                    an offset.
minimax_text.py     MiniMax-Text-01 and M1: lightning attention in seven of eight layers, and experts in each.
mistral3.py         Mistral Small 3 and Ministral 3, text only: Llama with YaRN, and queries scaled by their
                    position.
mixtral.py          Mixtral: Llama with a mixture of experts in each layer; `llama` in llama.cpp, too.
modern_bert.py      ModernBERT: norms before their layers, rotary positions, windows, gate and up in one
                    matrix.
mpt.py              MPT: linear attention biases (ALiBi) instead of positions, clipped q, k and v, mostly no
                    biases.
muse_glimmer.py     Muse Glimmer, text only: windows with rotation, every fourth layer without either; gated
                    attention.
nanbeige.py         Nanbeige 4: Llama that goes through its layers several times.
nemotron.py         Nemotron 4 and Minitron: norms that store what is added to one, squared ReLU without a
                    gate.
nemotron_h.py       Nemotron-H, Nano 2 and Nemotron 3: each layer is a state space, attention, or a
                    feed-forward.
neobert.py          NeoBERT: norms before their layers, rotated neighbours, SwiGLU; each head's q, k and v
                    together.
nomic_bert.py       Nomic's BERT (nomic-embed-text v1 and v1.5): rotary positions, SwiGLU; v2: experts with
                    GELU.
olmo.py             OLMo 1, whose layer norms have no weights, and OLMoE: experts, and norms over all queries
                    and keys.
olmo2.py            OLMo 2 and 3: norms behind attention and feed-forward, not before, and over all queries
                    and keys.
openelm.py          OpenELM: layers that differ in heads and width, norms of heads' queries and keys, q, k and
                    v fused.
orion.py            Orion: Llama with layer norms, whose epsilon config.json calls that of RMS norms.
pangu_embedded.py   openPangu-Embedded: Llama with biases in attention.
phi2.py             Phi-1, 1.5 and 2: attention and feed-forward side by side behind one norm, biases, partial
                    rotation.
phi3.py             Phi-3, 3.5 and 4: fused matrices, and rotary factors for short and for long contexts.
phi_moe.py          Phi-3.5-MoE: Phi-3's rotary factors and vocabulary, unfused attention with biases,
                    experts.
qwen.py             The first Qwen: attention without grouped queries, in one matrix with biases.
qwen2.py            Qwen 1.5 to 2.5, their mixtures of experts, and the models made from them.
qwen3.py            Qwen 3 and its mixtures of experts: norms of each head's query and key instead of biases.
qwen3_next.py       Qwen 3-Next, 3.5 and 3.6, dense and with experts: three gated delta nets, then a layer
                    that attends.
qwen_vl.py          Qwen's models that see, and Omni, which also hears and speaks: their text models, with
                    M-RoPE.
refact.py           Refact 1.6B: linear attention biases (ALiBi), one key-value head, a gated feed-forward.
seed_oss.py         Seed-OSS: Llama with biases of queries, keys and values.
smallthinker.py     SmallThinker: Llama with experts that are chosen before attention, windows in three of
                    four layers.
smollm3.py          SmolLM3: Llama without rotation in every fourth layer.
spark2_5.py         Spark X2.5: a gate for each head's output, and windows in layers that rotate in their own
                    way.
stablelm.py         StableLM 3B, StableLM 2 and StableCode: norms with shifts, partial rotation.
starcoder.py        StarCoder and SantaCoder (GPTBigCode), CodeShell: GPT-2 with few key-value heads, weights
                    as rows.
starcoder2.py       StarCoder2: norms with shifts, a feed-forward without gate, biases everywhere.
step35.py           Step 3.5 and 3.7, text only: windows in most layers with more heads, a gate for each head,
                    experts.
t5.py               T5 and its kin (Flan-T5, FastChat-T5, mT5, UMT5), encoder and decoder, or the encoder
                    alone.
talkie.py           Talkie: norms without weights, gains of one number, and the embedding added in each layer.
youtu.py            Youtu-LLM: DeepSeek's latent attention without experts, and the text part of the Youtu
                    that sees.
"""
