"""The files of torch.save, read as data: no torch, and no pickle is run."""
