"""What weights look like on disk: a stream of named tensors, whatever their container."""
