from glob import glob

from setuptools import find_packages, setup

PACKAGE = "seg_perception"
SHARE = f"share/{PACKAGE}"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={f"{PACKAGE}.evaluation": ["*.jinja"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", glob("launch/*.launch.py")),
        (f"{SHARE}/config", glob("config/*")),
        (f"{SHARE}/models/default", glob("models/default/*")),
    ],
    # rosdep installs what package.xml names; README.md says how to get onnxruntime.
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="seg_perception maintainers",
    maintainer_email="maintainers@seg-perception.example",
    description="Semantic segmentation of camera images that can be corrected while driving",
    license="Apache-2.0",
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "segmentation_node = seg_perception.ros.node:main",
            "seg-perception = seg_perception.cli:main",
        ],
    },
)
