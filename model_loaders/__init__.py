"""Checkpoint files to networks: what the tensors say, loaded strictly."""
