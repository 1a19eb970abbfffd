"""The jobs that programs call: from a reference to published files, with their origin and card."""
