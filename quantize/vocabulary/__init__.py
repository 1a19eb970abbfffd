"""Vocabularies of GGUF files, from tokenizer files: tokens, merges, special tokens, templates.

added_tokens.py            A family's rules for tokens that were added to a SentencePiece model, as in
                           llama.cpp's converter.
byte_fallback.py           BPE with byte fallback: Llama's tokenizer where it is given only as tokenizer.json.
chat_template.py           A repository's chat templates, from whichever of its files has them.
files.py                   The tokenizer files of a checkpoint, each read once, and the tokens that they name.
misfits.py                 Tokens that a file can't have: those that the embedding has no row for, and texts
                           under two ids.
normalizer.py              The normalizer of a tokenizer.json, as far as llama.cpp has it: case, accents, a
                           compiled map.
pre_tokenizer_patterns.py  The regular expressions by which tokenizer.json files split text, letter for
                           letter.
pre_tokenizers.py          The pre-tokenizer of llama.cpp that splits text as a tokenizer.json does, found by
                           its structure.
read.py                    The vocabulary of a checkpoint, from whatever tokenizer files it has: the kind is
                           recognised here.
sentencepiece.py           SentencePiece's model files, and the tokens of a tokenizer.model.
slow_tokenizers.py         Tokenizers older than tokenizer.json: vocab.txt (WordPiece), vocab.json and
                           merges.txt (byte-level).
special_tokens.py          The special tokens (bos, eos, pad …) and those that the tokenizer adds, as in
                           llama.cpp's converter.
stop_tokens.py             The tokens that end an answer, from every file that names one, and the keys that
                           say so.
tiktoken.py                Byte-level BPE from tiktoken's files (Llama 3's own tokenizer.model, GLM-4's,
                           qwen.tiktoken …).
token_table.py             The ids of a vocabulary's texts as transformers gives them: the model's own, then
                           the added tokens.
tokenizer_json.py          The vocabularies of tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen …) and
                           WordPiece (BERT).
unigram.py                 SentencePiece's unigram vocabularies (T5's, XLM-RoBERTa's), from their own files or
                           tokenizer.json.
vocabulary.py              A vocabulary as GGUF stores it: pure data, which `read` makes from a checkpoint's
                           tokenizer files.
"""
