"""HunyuanVideo-Foley: silent video and a prompt to 48 kHz sound."""
