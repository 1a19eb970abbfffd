"""`corral tune`: the search for the settings that serve fastest, its progress and its report."""
