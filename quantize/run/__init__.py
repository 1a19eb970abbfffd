"""Running a plan: tensors are read, encoded and written in parallel, resumable and within memory."""
