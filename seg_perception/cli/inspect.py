"""`seg-perception inspect`: show what a bundle is, and whether it is intact."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from seg_perception.cli.console import out
from seg_perception.cli.opening import runner_of
from seg_perception.runtime.bundle import Bundle, check_bundle, load_bundle
from seg_perception.runtime.manifest import Manifest, TensorSpec


def run(args: argparse.Namespace) -> None:
    """Verify the bundle's files, print its manifest, and with --check run its self-test.

    Raises:
        BundleError: it is missing, damaged, or answers wrongly here.
        RunnerError: it cannot be run here.
    """
    bundle = load_bundle(args.bundle)
    out.print(_facts(bundle))
    if args.check:
        with runner_of(args, bundle) as runner:
            check_bundle(bundle, runner)
            out.print(f"runs in {runner.name}: {runner.reason}", markup=False, soft_wrap=True)
            out.print(f"self-test passed: {runner.name} answers as where the bundle was made")


def _facts(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    table = Table(title=f"{bundle.path}: all files intact", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a digest is copied whole
    for name, value in _rows(manifest, bundle):
        table.add_row(name, value)
    return table


def _rows(manifest: Manifest, bundle: Bundle) -> Iterable[tuple[str, str]]:
    yield "name", escape(manifest.name)
    yield "digest", bundle.digest
    yield "format version", str(manifest.format_version)
    yield "input", f"{manifest.width}x{manifest.height} {manifest.encoding}"
    yield (
        "classes",
        "\n".join(_class_line(info.id, info.name, info.color) for info in manifest.classes),
    )
    for group, members in manifest.class_groups.items():
        yield f"group {escape(group)}", escape(", ".join(members))
    yield "graph inputs", _specs(manifest.inputs)
    yield "graph outputs", _specs(manifest.outputs)
    yield "code", f"{manifest.code_size} numbers" if manifest.code_size else "none"
    for refiner in manifest.refiners:
        yield f"refiner {escape(refiner.name)}", _pairs(refiner.parameters)
    yield "precision", _precision(manifest)
    yield "custom operators", escape(", ".join(manifest.custom_ops)) or "none"
    yield "provenance", _provenance(manifest.provenance)
    yield "scores", "\n".join(map(escape, _figures(manifest.scores))) or "none"
    yield (
        "files",
        "\n".join(
            f"{(bundle.path / name).stat().st_size / 1e6:8.3f} MB  {escape(name)}"
            for name in manifest.files
        ),
    )


def _precision(manifest: Manifest) -> str:
    quantised = manifest.quantisation
    if quantised is None:
        return "float32"
    facts = {**quantised.calibration, **quantised.loss}
    return f"{quantised.precision} convolutions in the unary network\n{_pairs(facts)}"


def _class_line(class_id: int, name: str, color: tuple[int, int, int]) -> str:
    return f"[rgb({color[0]},{color[1]},{color[2]})]██[/] {class_id:3d} {escape(name)}"


def _specs(specs: Iterable[TensorSpec]) -> str:
    return "\n".join(escape(f"{spec.name} {spec.dtype} {list(spec.shape)}") for spec in specs)


def _provenance(values: Mapping[str, Any]) -> str:
    """Its parts; of a recipe with all its stages the name."""
    recipe = values.get("recipe")
    if isinstance(recipe, Mapping) and "name" in recipe:
        values = {**values, "recipe": f"{recipe['name']} (all of it: manifest.json)"}
    if isinstance(data := values.get("data"), list):
        values = {**values, "data": "; ".join(f"{one['name']}, {one['terms']}" for one in data)}
    return _pairs(values)


def _figures(scores: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterable[str]:
    """A line for each group of figures, outermost first."""
    inner = {name: value for name, value in scores.items() if isinstance(value, Mapping)}
    own = [f"{name} {value}" for name, value in scores.items() if name not in inner]
    if own:
        yield f"{' '.join(path)}: {', '.join(own)}" if path else ", ".join(own)
    for name, group in inner.items():
        yield from _figures(group, (*path, name))


def _pairs(values: Mapping[str, Any]) -> str:
    return "\n".join(escape(f"{name}: {value}") for name, value in values.items()) or "none"
