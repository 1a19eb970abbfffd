"""The allocation of types for a size that the user wants: each tensor's, so that the least is lost."""
