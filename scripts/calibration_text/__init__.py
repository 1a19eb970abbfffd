"""The making of the text that Corral calibrates on, and of the one that is held out."""
