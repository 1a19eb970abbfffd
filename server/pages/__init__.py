"""The web page's side of the server: its files, its chats, and their answers, which go on without it.

answer.py    `PageAnswer`: an answer while it is made: its text so far, and its events for whoever watches.
             Pure.
database.py  `ChatDatabase`: the web page's chats with all branches of their messages, in one SQLite file.
export.py    A chat as a file: JSON of all branches, which can be brought back, or Markdown of one. Pure.
files.py     `PageFiles`: the web page's files, as they are sent: with type and tag, and compressed.
records.py   Chats and messages of the web page, as they are kept and as the page gets them.
requests.py  Requests of the web page, and a chat's branch as the body of a chat request. Pure.
store.py     `ChatStore`: the web page's chats for the event loop; the file is used in a thread of its own.
turns.py     `RunningTurns`: the answers that are being made for the web page, which go on without it.
"""
