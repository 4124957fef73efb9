"""How large the vehicles of a clip are: three sets of sizes, so that a prior of sizes is no oracle.

catalogue   as toy_roadside draws them: those that a detector trained on it has seen
shifted     the catalogue's, 3 % larger in each dimension
sumo        SUMO's own vehicle classes, all of a class of one size
"""

from dataclasses import dataclass, replace

import numpy as np

from d2road.synthetic.roadside.road_users import CLASSES
from d2road.synthetic.traffic_incidents.drivers import POPULATIONS, Driver, Population

SIZES = ("catalogue", "shifted", "sumo")
SHIFT = 1.03
# Height, width, length in m of SUMO's vClasses (https://sumo.dlr.de/docs/Vehicle_Type_Parameter_Defaults.html).
SUMO_HWL = {"car": (1.5, 1.8, 5.0), "van": (2.86, 2.16, 6.5), "truck": (2.4, 2.4, 7.1), "bus": (3.4, 2.5, 12.0)}
BUSES_EVERY = 4  # of the drivers of trucks


@dataclass(frozen=True)
class VehicleModel:
    """What a driver drives: class (car, van, truck, bus) and height, width, length in m."""

    kind: str
    hwl: tuple[float, float, float]


def sized_population(name: str, sizes: str) -> Population:
    """Drivers of a population of POPULATIONS in vehicles of a set of SIZES, some of the trucks being buses."""
    population = POPULATIONS[name]

    def draw(rng: np.random.Generator, cls: str, number: int) -> Driver:
        driver = population.draw(rng, cls, number)
        kind = "bus" if cls == "truck" and number % BUSES_EVERY == 0 else cls
        height, width, length = sample_hwl(rng, kind, sizes)
        more = (*driver.more, ("width", f"{width:.2f}"), ("height", f"{height:.2f}"))
        return replace(driver, length=length, more=more)

    return replace(population, draw=draw)


def sample_hwl(rng: np.random.Generator, kind: str, sizes: str) -> tuple[float, float, float]:
    """Height, width, length in whole centimetres, as SUMO is told them."""
    drawn = CLASSES[kind].sample_hwl(rng)
    hwl = {"catalogue": drawn, "shifted": drawn * SHIFT, "sumo": np.array(SUMO_HWL[kind])}[sizes]
    height, width, length = (round(float(value), 2) for value in hwl)
    return height, width, length


def vehicle_models(drivers: list[Driver]) -> dict[str, VehicleModel]:
    """The vehicle of each driver of `sized_population`, by name."""
    models = {}
    for driver in drivers:
        more, number = dict(driver.more), int(driver.name.partition(".")[2])
        kind = "bus" if driver.cls == "truck" and number % BUSES_EVERY == 0 else driver.cls
        models[driver.name] = VehicleModel(kind, (float(more["height"]), float(more["width"]), driver.length))
    return models
