"""Presentation times that rise, from time stamps that may be missing, stand still or leap."""

LEAP_S = 5.0  # a live stamp may differ by this from the time that passed here: buffers deliver in bursts


class PresentationClock:
    """Turns the time stamps of a video into seconds since its first frame.

    Frames of a file are as far apart as their stamps say, whatever the gap. In a live stream the time that passed here
    bridges what stamps do not tell: a connection that was lost, a sender that set its clock, no stamps at all.

    Args:
        step_s: between frames of a file where stamps do not tell.

    Attributes:
        estimated: frames whose stamp was missing or did not rise.
        leaps: stamps of a live stream that jumped away from the time that passed here.
    """

    def __init__(self, step_s: float):
        self.step_s = step_s
        self.estimated = self.leaps = 0
        self._t = 0.0  # of the last frame
        self._stamp: float | None = None  # of the last frame, as far as it can be compared with the next one
        self._arrival: float | None = None
        self._started = False

    def __call__(self, stamp: float | None, arrival: float | None = None) -> float:
        """The time of the next frame, s.

        Args:
            stamp: of the frame, s, from any origin; None where it has none.
            arrival: when a live frame came, s of a clock that only rises; None for a file.
        """
        if not self._started:
            self._started = True
        else:
            self._t += self._step(stamp, arrival)
        self._stamp, self._arrival = stamp, arrival
        return self._t

    def restart(self) -> None:
        """The next stamp has nothing to do with the last one: a stream was connected anew."""
        self._stamp = None

    def _step(self, stamp: float | None, arrival: float | None) -> float:
        passed = None
        if arrival is not None and self._arrival is not None:
            passed = max(arrival - self._arrival, 1e-3)
        step = None if stamp is None or self._stamp is None else stamp - self._stamp
        if step is not None and step > 0 and (passed is None or abs(step - passed) <= LEAP_S):
            return step
        if passed is None:
            self.estimated += 1
            return self.step_s
        if step is not None:
            self.leaps += 1
        return passed
