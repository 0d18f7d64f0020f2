"""The networks, the sampling and the media code of both systems: pure PyTorch, no model files, no host."""
