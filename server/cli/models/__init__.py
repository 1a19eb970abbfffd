"""The commands for stored models: `corral pull`, `list`, `show` and `remove`."""
