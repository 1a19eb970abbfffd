"""The formats in which models write tool calls, one file each; a file with a `FORMAT` is one.

apertus.py           Apertus's format: a list of objects between two marks, each with a tool's name as its
                     only key.
apriel.py            Apriel's format: a list of JSON objects between two marks.
command_r.py         Command-R+'s format: a fence of JSON with a list of actions.
command_r7b.py       Command-R7B's and Cohere's later format: a list of numbered actions between two marks.
deepseek_r1.py       DeepSeek R1's and V3's format: a call is a fence of JSON between marks, behind type and
                     name.
deepseek_v3_1.py     DeepSeek V3.1's format: each call is its name and its JSON between marks.
deepseek_v3_2.py     DeepSeek V3.2's format: invocations in DSML, whose parameters say if they are strings.
deepseek_v4.py       DeepSeek V4's format: V3.2's, with another name of the section around the calls.
firefunction.py      Firefunction's format, also Phi-4's own: a JSON list of all calls behind a word.
functionary_v3_1.py  Functionary's format of v3.1: the name in a tag, the arguments as JSON.
functionary_v3_2.py  Functionary's format of v3.2: each part has a recipient (`all`: content); the prompt ends
                     in `>>>`.
gemma4.py            Gemma 4's format: calls with strings between special marks and keys without quotes.
generic.py           The format taught to models whose template knows no tools: Hermes', with marks of plain
                     text.
gigachat.py          GigaChat 3's format: one JSON object in a message of its own.
gigachat_3_1.py      GigaChat 3.1's format: one JSON object behind a mark.
glm.py               GLM's format since 4.5, also Spark's, Ling's and Laguna's: a name, then keys and values
                     in turn.
granite.py           Granite 3's format, a JSON list of all calls behind a mark; Granite 4 writes Hermes'
                     format.
harmony.py           Harmony, gpt-oss's format: an answer is messages in channels, for thoughts, calls and
                     content.
hermes.py            Hermes' format, also Qwen's 2.5 and 3: each call is a JSON object between two marks.
hunyuan.py           Hunyuan's format of Hy3: GLM's keys and values, with other marks around calls and names.
kimi_k2.py           Kimi K2's format: each call is a name with a number, and its JSON, between marks.
kimi_k3.py           Kimi K3's format: content and calls are elements between marks, whose arguments say their
                     types.
lfm2.py              LFM2's format: a list of calls in Python's notation between two marks.
llama3.py            Llama 3's format: the answer is one JSON object, for built-in tools a Python call behind
                     a mark.
minicpm.py           MiniCPM 5's format: functions with named parameters, without marks around all calls.
minimax_m1.py        MiniMax M1's format: JSON objects between two marks, each on a line of its own.
minimax_m2.py        MiniMax M2's format: invocations with named parameters, whose strings have no quotes.
minimax_m3.py        MiniMax M3's format: nested elements, each mark of which stands behind the model's own
                     token.
mistral_list.py      Mistral's format up to Nemo: a JSON list of all calls behind a mark, some with ids of
                     their own.
mistral_named.py     Mistral's format from Small 3.2 on: for each call a mark, the name, a mark and the
                     arguments.
muse.py              Muse's format: an answer is messages to recipients: itself for thoughts, a tool, or the
                     user.
nemotron_nano_v2.py  Nemotron Nano v2's format: a list of JSON objects between two marks.
phi4_mini.py         Phi-4-mini's format: a JSON list of all calls between two marks.
qwen3_coder.py       Qwen3-Coder's XML, also Qwen3.5's, Nemotron 3's, Step 3.5's: arguments are elements of
                     plain text.
seed_oss.py          Seed-OSS's format: one function between two marks, and its parameters each in a tag of
                     its own.
solar.py             Solar Open's format: an answer is messages of thoughts, of calls with ids, and of
                     content.
"""
