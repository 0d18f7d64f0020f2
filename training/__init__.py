"""How the pocket weights are made: scenes to learn from, and one entry point per network."""
