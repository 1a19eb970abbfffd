"""One worker process as the API process sees it: its socket, who gets what it says, how it ended.

connection.py      `FrameConnection`: one end of a socket of frames, which passes on each message;
                   `WorkerConnection`.
dispatcher.py      `Dispatcher`: hands a worker's messages to the requests, calls and load that wait for them.
exit_report.py     `ExitReport`: how and why a worker process ended, in one line for a user. Pure.
failures.py        A worker's refusals and its death, as errors for callers and as events for running
                   requests. Pure.
hardship.py        `ProcessWatcher`: a process's state, and how much of a time the system let it compute.
request_stream.py  `RequestStream`: one running request, between a worker's connection and its events'
                   listener.
vigil.py           `Vigil`: tells whether a worker is stopped, stuck or silent, and has to be replaced.
worker_process.py  `WorkerProcess`: one worker as the API process sees it, from its start to the report of its
                   end.
worker_start.py    The start of a worker: it is ready, or no process is left.
"""
