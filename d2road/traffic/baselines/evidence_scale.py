"""Scale of evidence: how many seconds what a vehicle does has to last, and what it is compared with.

On a kilometre of road a vehicle is seen for half a minute; a roadside camera sees it for some seconds, with few others
beside it, and does not see whether the road is free behind the end of its view.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvidenceScale:
    """Lengths in seconds, and what is near.

    Args:
        standing_s: that standing is counted over. lasting_s: of a difference of speed. following_s: of a short time gap
            behind one vehicle. changing_s: that changes of lane are counted over. forecast_s: of a difference from
            forecasts.
        memory_s: others that a speed is compared with are all that were seen within so many seconds before and after;
            0: those near in the same second.
        ends: whether the road may be occupied from the end of a window on: there is no more room than up to it.
    """

    standing_s: int = 10
    lasting_s: int = 6
    following_s: int = 10
    changing_s: int = 10
    forecast_s: int = 10
    memory_s: int = 0
    ends: bool = False


ROAD = EvidenceScale()
CAMERA = EvidenceScale(standing_s=20, lasting_s=2, following_s=2, changing_s=4, forecast_s=2, memory_s=12, ends=True)
