"""Usage: who has had which model compute how many tokens, counted per key, model and day.

accounts.py         `Accounts`: the keys that a server knows, what each may still use, and what it has used.
database.py         `UsageDatabase`: the usage in one SQLite file, a row per day, key and model.
entry.py            `UsageEntry`: what one request, or all of a key's, a model's or a day's together, have
                    used. Pure.
ledger.py           `UsageLedger`: the usage, for the event loop; the file is used in a thread of its own, or
                    at once.
metered_service.py  `MeteredService`: the model service, with each answer limited and counted by its key.
quick_writer.py     `QuickWriter`: writes a single entry in the event loop, in less time than a change of
                    threads takes.
"""
