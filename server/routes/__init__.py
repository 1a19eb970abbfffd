"""HTTP endpoints, one file per group; each leaves the work to `server.http` and the service.

admin.py               `/admin/adapters`: LoRA adapters at run time; `/lora-adapters`: llama-server's defaults
                       of them.
admin_jobs.py          `POST /admin/models/pull` and `/admin/jobs`: models fetched and quantized beside those
                       served.
admin_models.py        `/admin/models`: the models' lives: which are loaded, what they take, load, unload,
                       pin.
batches.py             `/v1/batches`: many requests of a file, answered in idle times.
chat.py                `POST /v1/chat/completions`.
completions.py         `POST /v1/completions`.
conversations.py       `/v1/conversations`: conversations that responses add to and go on with.
embeddings.py          Vectors of texts, and scores of pairs: OpenAI's routes, llama-server's, TEI's,
                       Cohere's, vLLM's.
files.py               `/v1/files`: the inputs of batches, and their results.
health.py              `GET /health`: this process is alive. `GET /ready`: the models it was started with can
                       answer.
home.py                The web pages: the chat page at `/`, the API's documentation at `/docs`, and the files
                       of both.
hosting.py             `GET /ping` and `POST /invocations`: what the clouds' model hosting asks of a
                       container.
inference_protocol.py  `/v2`: the Open Inference Protocol, as KServe and Triton have it, with Triton's
                       `generate`.
inspect.py             `GET /admin/inspect`: the latest requests, where the server was started to keep them.
live_requests.py       `/admin/requests`: the requests that are being answered, and their cancelling.
messages.py            `POST /v1/messages` and `/v1/messages/count_tokens`, Anthropic's.
metrics.py             `GET /metrics`: what Prometheus reads.
models.py              `GET /v1/models` and `GET /v1/models/{id}`; ids contain slashes.
native.py              `POST /completion` and `/infill`, llama-server's own.
ollama.py              Ollama's routes for answers and vectors: `/api/chat`, `/api/generate`, `/api/embed`.
ollama_models.py       Ollama's routes for models: `/api/tags`, `ps`, `show`, `pull`, `delete`, `version`, and
                       refusals.
props.py               `GET /props`, llama-server's: the facts about a model that its clients look up before
                       they begin.
reload.py              `POST /admin/reload`: the settings are read again, as at SIGHUP.
responses.py           `/v1/responses`: OpenAI's Responses API, with its kept responses.
router_facts.py        `/version`, `/server_info`, `/model_info`, `/v1/loads`: what routers ask each of
                       several servers.
slots.py               `/slots`, llama-server's: what each slot of a loaded model does, and what it holds,
                       kept in files.
stored_chats.py        Kept chat completions: those whose request had `store: true`.
tokens.py              `/tokenize`, `/detokenize`, `/apply-template` as in llama-server; `/tokenizer_info` as
                       in vLLM.
tools.py               `GET` and `POST /tools`, llama-server's: the tools that this server runs for its
                       clients.
usage_totals.py        `GET /admin/usage`: who has used what; `/admin/keys`: the keys; `GET /v1/usage`: one's
                       own usage.
web_chats.py           `/web/chats`: the web page's chats, and the answers that are made in them.
"""
