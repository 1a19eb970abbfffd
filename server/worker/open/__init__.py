"""Loading a model: its kind is decided once, and the opener of that kind makes its frozen parts."""
