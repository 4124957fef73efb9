"""What pyproject.toml cannot say: the wheel has configs/ as the package d2road.configs."""

from setuptools import find_packages, setup

ROOTS = ("d2road", "diffusion_det", "efficientad", "mono3dvg")

setup(
    packages=[*find_packages(include=[name for root in ROOTS for name in (root, f"{root}.*")]), "d2road.configs"],
    package_dir={"d2road.configs": "configs"},
)
