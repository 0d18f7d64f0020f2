"""Which parts of people's videos are worth learning from, and why the others are not.

As HunyuanVideo-Foley's data were chosen: no sound, too much silence, a low sample rate and noise all but as
loud as the sound are left out; sound with the full bandwidth is marked.
"""

from dataclasses import dataclass

import numpy as np

from ..hunyuan.media.measure import bandwidth, decibels, silence

MOMENT = 0.05  # seconds
QUIETEST = 0.1  # share of the moments that the noise is measured in


@dataclass(frozen=True, kw_only=True)
class Filters:
    """shortest, longest: seconds of a chunk. silence: largest share of the time. snr: dB, at least.

    sample_rate: Hz; this and less is dropped. full_band: Hz that the sound reaches to be marked.
    """

    shortest: float = 2.0
    longest: float = 8.0
    silence: float = 0.8
    sample_rate: int = 32_000
    snr: float = 2.0
    full_band: float = 16_000.0

    def __post_init__(self) -> None:
        if not 0.64 <= self.shortest <= self.longest <= 15.0:
            raise ValueError(
                f"Chunks of {self.shortest:g} to {self.longest:g} s cannot be. Stay between 0.64 and 15 s."
            )

    def of_file(self, sample_rate: int) -> str | None:
        """Why a file's sound is of no use; None if it is."""
        if sample_rate <= self.sample_rate:
            return f"sample rate {sample_rate} Hz, needed: more than {self.sample_rate} Hz"
        return None

    def of_chunk(self, waveform: np.ndarray, sample_rate: int) -> str | None:
        """Why a chunk of sound, (channels, samples), is of no use; None if it is."""
        quiet = silence(waveform, sample_rate)
        if quiet > self.silence:
            return f"{quiet:.0%} silence, allowed: {self.silence:.0%}"
        ratio = signal_to_noise(waveform, sample_rate)
        if ratio < self.snr:
            return f"{ratio:.1f} dB above its own noise, needed: {self.snr:g} dB"
        return None

    def is_full_band(self, waveform: np.ndarray, sample_rate: int) -> bool:
        return bandwidth(waveform, sample_rate) > self.full_band


def signal_to_noise(waveform: np.ndarray, sample_rate: int) -> float:
    """dB: power of all the sound over that of its quietest tenth. Steady noise alone has almost none."""
    size = max(1, round(MOMENT * sample_rate))
    moments = waveform.shape[1] // size
    if moments < 2:
        return 0.0
    cut = waveform[:, : moments * size].reshape(len(waveform), moments, size)
    power = np.sort(np.square(cut, dtype=np.float64).mean((0, 2)))
    noise = power[: max(1, round(QUIETEST * moments))].mean()
    return decibels(float(power.mean() / noise)) if noise > 0 else float("inf")
