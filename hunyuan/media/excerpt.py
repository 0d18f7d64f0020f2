"""Which packets of a stream belong to a part of it, when they are copied, not decoded.

A part lies between two times on the source's clock. Packets come and go in decoding order; those that go have
their times counted from the part's start.
"""

from typing import TYPE_CHECKING

from .source import LONGEST_STILL, TICK, VideoSource

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream


class PictureExcerpt:
    """From the last keyframe at or before `start` to what is shown before `limit` (in seconds)."""

    def __init__(self, source: VideoSource, start: float, limit: float) -> None:
        self.source, self.start, self.limit = source, start, limit
        self.offset = source.ticks(start)
        self.begun = start == 0  # a whole file is copied as it is, even if it does not begin with a keyframe
        self.early: list[Packet] = []  # since the last keyframe, until all before the start have come
        self.late: list[Packet] = []  # shown after the limit, and wanted only if something before it follows
        self.undated: list[Packet] = []  # wanted, but when to decode them is not known yet
        self.end: float | None = None  # seconds after the start at which the last picture ends
        self.done = False

    def take(self, packet: "Packet") -> "list[Packet]":
        """The packets that are known to be wanted, now that this one has come."""
        if packet.pts is None:
            raise ValueError(
                f"{self.source.path.name}: not every picture says when it is shown. Write it anew."
            )
        decoded = None if packet.dts is None else self.source.time(packet.dts)
        self.done = decoded is not None and decoded >= self.limit
        if self.begun:
            return self._keep(packet)
        if packet.is_keyframe and self.source.time(packet.pts) < self.start + TICK:
            self.early.clear()
        self.early.append(packet)
        return [] if decoded is None or decoded < self.start else self._begin()

    def rest(self) -> "list[Packet]":
        """What is still wanted once the stream has ended."""
        self.done = True
        wanted = [] if self.begun else self._begin()
        for packet in self.undated:
            packet.dts = packet.pts
        return wanted + self._dated([])

    def _begin(self) -> "list[Packet]":
        """The picture on screen at the start is shown from there on; those before it are only decoded."""
        self.begun = True
        before = [packet for packet in self.early if self._time(packet) < self.start + TICK]
        if before:
            on_screen = max(before, key=self._time)
            if len(before) == len(self.early) and self.source.end_of(on_screen) < self.start + TICK:
                return []  # the video ends before the start
            moved = self.offset - (on_screen.pts or 0)
            on_screen.pts = self.offset
            on_screen.duration = max(0, (on_screen.duration or 0) - moved)
        return [wanted for packet in self.early for wanted in self._keep(packet)]

    def _time(self, packet: "Packet") -> float:
        assert packet.pts is not None  # `take` has looked
        return self.source.time(packet.pts)

    def _keep(self, packet: "Packet") -> "list[Packet]":
        self.late.append(packet)
        time = self._time(packet)
        hidden = packet.is_discard and time > self.start - TICK  # cut off by the source's own edit list
        if hidden or time > self.limit - TICK:
            return []
        self.end = self._end_with(packet)
        wanted, self.late = self.late, []
        return self._dated(wanted)

    def _end_with(self, packet: "Packet") -> float:
        end = self.end or 0.0
        new_end = max(end, min(self.source.end_of(packet), self.limit) - self.start)
        if new_end > end + LONGEST_STILL:
            hours = new_end / 3600
            raise ValueError(f"{self.source.path.name}: its picture jumps to {hours:.1f} h. It is damaged.")
        return new_end

    def _dated(self, packets: "list[Packet]") -> "list[Packet]":
        """Counted from the part's start, all with a time for decoding. Matroska leaves out the first ones."""
        for packet in packets:
            assert packet.pts is not None
            packet.pts -= self.offset
            if packet.dts is not None:
                packet.dts -= self.offset
        self.undated += packets
        first = next((i for i, packet in enumerate(self.undated) if packet.dts is not None), None)
        if first is None:
            return []
        dts = self.undated[first].dts or 0
        for packet in reversed(self.undated[:first]):
            dts -= max(1, packet.duration or 0)
            packet.dts = dts
        dated, self.undated = self.undated, []
        return dated


class SoundExcerpt:
    """The packets of a copied sound that are heard between `start` and `limit` (in seconds)."""

    def __init__(
        self, source: VideoSource, stream: "AudioStream", start: float, limit: float, *, lead: bool
    ) -> None:
        """lead: whether the target can hide what comes before the start, from which decoders warm up."""
        assert stream.time_base is not None
        self.time_base = stream.time_base
        self.zero = float(source.zero * source.time_base)
        self.start, self.limit, self.lead = start, limit, lead
        self.done = False

    def take(self, packet: "Packet") -> "list[Packet]":
        if packet.pts is None:
            return []
        time = float(packet.pts * self.time_base) - self.zero
        self.done = time >= self.limit
        length = float((packet.duration or 0) * self.time_base)
        if self.done or time + (2 if self.lead else 1) * length <= self.start:
            return []
        packet.pts -= round((self.zero + self.start) / self.time_base)
        packet.dts = packet.pts
        return [packet]

    def rest(self) -> "list[Packet]":
        self.done = True
        return []
