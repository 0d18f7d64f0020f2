"""HunyuanVideo-Avatar: a portrait, speech and a prompt to a talking video."""
