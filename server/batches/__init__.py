"""Batches: files of requests that are answered in idle times, and survive the death of the server.

database.py      `BatchDatabase`: the records of files and batches, in one SQLite file.
form.py          `receive_file`: an upload as OpenAI's clients send it, a form with a file, kept while it
                 comes in.
idle_service.py  `IdleService`: a model service whose requests wait for idle times where they are made for a
                 batch.
input_lines.py   `read_input`: the lines of a batch's input file, checked as far as that goes without running
                 them.
job.py           `BatchJob`: one batch from where it stands to its end.
line_call.py     `LineCaller`: one line of a batch as a request to the application itself, without a socket.
records.py       Files and batches as they are kept, and as clients see them. Pure.
requests.py      `new_batch`: a request for a batch, checked, as the record that is kept. Pure.
result_files.py  `ResultFiles`: a batch's answers and errors as they come, in two files that outlive the
                 server.
runner.py        `BatchRunner`: runs a store's batches while the server lives, those that a dead one has left
                 too.
store.py         `BatchStore`: files and batches for the event loop: records, and the files' content in a
                 folder.
upload.py        `Upload`: a file that is being written; it is in its place once it is whole and on the disk.
"""
