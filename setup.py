import os
from glob import glob

from setuptools import Extension, find_packages, setup

PACKAGE = "seg_perception"
SHARE = f"share/{PACKAGE}"

NATIVE = f"{PACKAGE}/filters/native"

# A plain shared library, which ctypes loads. Optional: without a C++ compiler, numpy does its work.
# No -march: the instruction set is chosen at run time.
KERNELS = Extension(
    f"{PACKAGE}.filters._kernels",
    sources=sorted(glob(f"{NATIVE}/*.cpp")),
    depends=sorted(glob(f"{NATIVE}/*.h") + glob(f"{NATIVE}/*.inl")),
    extra_compile_args=[
        *("-std=c++17", "-O3", "-fvisibility=hidden", "-pthread", "-Wno-psabi"),
        *os.environ.get("CXXFLAGS", "").split(),  # the last word is the user's
    ],
    extra_link_args=["-pthread"],
    language="c++",
    optional=True,
)

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={f"{PACKAGE}.evaluation": ["*.jinja"]},
    ext_modules=[KERNELS],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", glob("launch/*.launch.py")),
        (f"{SHARE}/config", glob("config/*")),
        *(  # all folders of the bundle, which may carry GPU kernels in one of its own
            (f"{SHARE}/{folder}", [f"{folder}/{name}" for name in names])
            for folder, _, names in os.walk("models/default")
        ),
    ],
    # rosdep installs what package.xml names; README.md says how to get onnxruntime.
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="seg_perception maintainers",
    maintainer_email="maintainers@seg-perception.example",
    description="Semantic segmentation of camera images that can be corrected while driving",
    license="Apache-2.0",
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "segmentation_node = seg_perception.ros.__main__:main",
            "seg-perception = seg_perception.cli:main",
        ],
    },
)
