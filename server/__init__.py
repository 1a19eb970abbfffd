"""Serving models: the HTTP API, worker processes, the engine, chat templates, and the command line.

app.py                `create_app`: the HTTP application, made of routes and the error table. Nothing happens
                      at import.
config.py             `ServerConfig`: all settings of a server, checked and joined.
config_sources.py     `load_config`: the settings, made once from flags > environment > TOML file > host >
                      defaults.
file_sampling.py      `sampling_defaults`: the sampling parameters that a model's file gives
                      (`general.sampling.*`). Pure.
hangup.py             `ControllingTerminal`: tells if the terminal that a process was started in is still
                      there.
listener.py           `Listener`: the bound sockets of one port, on every address that a host's name stands
                      for.
local_models.py       `supervisor_of`: the models of this machine as a server has them, made of its settings.
model_rules.py        Rules for models as settings have them, MODEL=VALUE, and the key by which a model is
                      meant. Pure.
reload.py             `Reloads`: the parts that a running server reads again at SIGHUP and `POST
                      /admin/reload`.
sampling_defaults.py  `SamplingDefaults`: the sampling parameters of requests that leave them open, as
                      settings.
serve.py              `ModelServer`: the HTTP application and the workers' supervisor, run together until a
                      signal.
serve_options.py      `ServeOptions`: the settings of one served model, each under one name from its flag to
                      the worker.
server_options.py     The server's own options: a group of settings for each part of it; a field's help is its
                      flag's.
setting.py            `Bounds` and `setting`: how a field of the settings' dataclasses tells its limits,
                      default and help.
answers/              An answer's text as its parts: thoughts, content and tool calls, the same for every
                      protocol.
anthropic/            Anthropic's Messages API: requests in, answers out, for `/v1/messages`. Pure.
batches/              Batches: files of requests that are answered in idle times, and survive the death of the
                      server.
chat/                 The text of a chat before the model: templates, prompt formats, and the renderer of
                      either.
cli/                  The command line, `corral`: one file per command, imported only when it is called.
clients/              Programs that use a server: their settings for it, and whether it takes what they send.
cluster/              Servers of several machines behind one address.
embeddings/           Requests for vectors and scores, and their answers, in the forms of several protocols.
engine/               Continuous batching in pure Python: no HTTP, no ctypes. `engine.Engine` is the way in.
hosting/              Requests in the forms of hosts: the clouds' bodies and the Open Inference Protocol.
                      Pure.
http/                 HTTP beneath the routes: keys, bodies, logs, and the stream of an answer to its socket.
images/               Images of chats: their bounds, and the child process that decodes them.
ipc/                  The contract between the API process and its workers: messages, frames, and a worker's
                      launch.
jobs/                 Long jobs of a running server, such as pulling and quantizing a model, each in a process
                      of its own.
kernels/              Matrix kernels of our own, which ggml's CPU backend calls as one more place for weights.
keys/                 API keys: who calls, what that caller may do and how much. Nothing here knows HTTP.
listening/            The ways to a server's door: TLS, a unix socket, sockets that a service manager has
                      opened.
llama_server/         llama-server's own API: `/completion`, `/infill`, `/props` and `/slots`, in its fields
                      and forms.
loadtest/             A load client for any OpenAI-compatible server, so cheap that both can share a machine.
metrics/              Figures of requests and workers, counted where their events pass, and their text for
                      Prometheus.
ollama/               Ollama's API, below `/api`: requests in, answers out, in its fields and forms.
openai/               OpenAI's wire protocol and only that: requests in; chunks, responses and errors out.
pages/                The web page's side of the server: its files, its chats, and their answers, which go on
                      without it.
placement/            Sizes with which a model is served on a machine: context, layers on GPUs, bytes of each
                      part.
presets/              Presets: names for loaded models, with parameters, a system prompt, adapters, and
                      weighted arms.
requests/             A request's course over several workers: what came of its answer, and how that goes on.
                      Pure.
responses/            OpenAI's Responses API: its requests, the answers' items and events, and what is kept of
                      them.
routes/               HTTP endpoints, one file per group; each leaves the work to `server.http` and the
                      service.
state/                SQLite files under CORRAL_HOME, for what the server keeps: the way to such a file.
supervisor/           The API process's side of the workers: models, one process per loaded model, and its
                      life.
toolbox/              Tools that this server itself runs, if asked to: files and commands of its machine, and
                      MCP servers.
tracing/              OpenTelemetry spans of requests to models, an optional extra: their making, attributes
                      and export.
tuning/               The search for the settings that serve a model fastest on this machine, and the use of
                      its results.
usage/                Usage: who has had which model compute how many tokens, counted per key, model and day.
worker/               The worker process, one per loaded model: inbox, engine, outbox and what runs on
                      llama.cpp.
"""
