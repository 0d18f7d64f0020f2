"""Frames and waveforms: decoding, resampling, resizing, writing."""
