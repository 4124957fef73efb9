"""One sentence in words for an alarm: which vehicle does what, where and when."""

from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.watch.alarm_vehicles import AlarmVehicle

STANDING_KMH = 2.0


def alarm_sentence(t: float, s_m: float, why: Explanation | None, vehicle: AlarmVehicle | None) -> str:
    """The sentence.

    Args:
        t: s of the video. s_m: m along the road, its sign is that of the carriageway. why: what the rules say.
        vehicle: at that instant, if it was seen then.
    """
    when, where = _clock(t), f"{abs(s_m):.0f} m from the camera"
    if why is None:
        return f"At {when} the traffic {where} is unusual."
    if vehicle is None:
        return f"At {when} vehicle {why.vehicle}, {where}, {why.words}."
    speed = abs(vehicle.speed_kmh)
    motion = "standing" if speed < STANDING_KMH else f"at {speed:.0f} km/h"
    article = "an" if vehicle.cls[:1].lower() in "aeiou" else "a"
    return (
        f"At {when} {article} {vehicle.cls} (track {vehicle.track}) in lane {vehicle.lane}, {where}, {motion}, "
        f"{why.words}."
    )


def _clock(t: float) -> str:
    tenths = round(t * 10)
    return f"{tenths // 36000:02d}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
