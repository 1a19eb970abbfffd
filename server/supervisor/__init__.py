"""The API process's side of the workers: models, one process per loaded model, and its life.

`supervisor.Supervisor` is the way in; the HTTP side sees it as `protocol.ModelService`. Never imports
llama.cpp's bindings.

attendance.py        `Attendance`: the requests that run in one model, wait for its load, or are held back.
catalogue.py         The catalogue: which models can be requested, and which file serves a name.
core_share.py        `CoreShare`: models that make vectors give way on the cores while others write answers.
event_iterator.py    `iterate`: a source's events for `async for`, where a task per event is no concern.
eviction.py          `victims`: which of the loaded models go, so that another one has room. Pure.
failure_history.py   `FailureHistory`: one model's deaths and refusals, and how long they keep it from
                     starting.
file_state.py        `FileState`: whether a model's file is still the one that was loaded. Reads sizes and
                     times alone.
fit_judge.py         `FitJudge`: whether models would fit, for a list of many; each file's header is read
                     once.
hosted_model.py      `HostedModel`: one model as requests and other models see it: its worker is there when it
                     is needed.
life.py              `Life`: how long one model is to stay loaded; `Alarm`: the moment at which a time is
                     over.
lives.py             `ModelLives`: what an administrator sees of the models' lives, and does to them.
load_wait.py         `LoadWait`: how many requests wait for one model's load, how long, and what the others
                     are answered.
memory_advice.py     `MemoryAdvice`: the answers of whoever knows the machine to what fits into its memory.
memory_check.py      `need`: the memory that one more model takes beside all that runs, before its worker is
                     started.
policy.py            `Policy`: the supervisor's time-outs, restart back-off and number of loaded models. Pure.
protocol.py          The HTTP side's view of the supervisor: `ModelService`, and `EventSource`, a request's
                     events.
request_handle.py    `RequestHandle`: one request's way through workers, from the search for one to the last
                     event.
room.py              `Room`: the models that wait for memory, served in turn; others are unloaded for the
                     first of them.
served_file.py       `ServedFile`: the file that a model is loaded from, and the one to be loaded next in its
                     place.
served_lengths.py    `ServedLengths`: each model's context and kind, decided once and told before the model is
                     loaded.
server_watch.py      `ServerWatch`: waits until servers of other machines, which compute layers, answer again.
service_layer.py     `ServiceLayer`: a `ModelService` around another one, for those that change some of its
                     methods.
supervisor.py        `Supervisor`: all models together, as a `ModelService`.
worker_lifecycle.py  `WorkerLifecycle`: one model's worker process: loaded, watched, started again after a
                     death, ended.
adapters/            LoRA adapters that come and go while models are served: registry, loading, conversion
                     from PEFT.
process/             One worker process as the API process sees it: its socket, who gets what it says, how it
                     ended.
"""
