"""Raw answers of every tool format, one file per format and named like it: `SAMPLES`, and what they are."""
