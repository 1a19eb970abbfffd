"""The jobs that programs call: from a reference to published files, with their origin and card.

description.py     A model of the Hub before it is downloaded: family, licence, forms, and the sizes of its
                   types.
durations.py       The times that a calibrated job will take, for a dry run: estimates, from small pieces.
ensure_model.py    From a reference to a file that can be served: one that is here, or is made first.
foresight.py       Foresight: what a calibrated pass would refuse is refused before a text's moments are
                   collected.
held_out_check.py  The held-out check of a pass: what lost by calibration is put right before files are
                   published.
hub_source.py      A checkpoint of the Hub: the files of a repository that are used, and how they are opened.
model_card.py      A model card in Markdown, for publishing: front matter, files, their origin, what was
                   measured.
provenance.py      The provenance of a file: the keys in its own metadata, and the store's manifest.
publish.py         The way of a pass's outputs: a work folder first, then the store or a folder of the
                   caller's.
request.py         The request for a job: the caller's options, and what they mean for the store and the disk.
resolve_source.py  From a request to the source of its weights: which checkpoint, from where, how it is
                   opened.
service.py         The service from a reference to published GGUF files, for `corral quantize` and any
                   program.
update.py          `update_model`: the newest weights of a model that is here, in the types that it is here
                   in.
"""
