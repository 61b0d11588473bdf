from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from seg_perception.errors import BundleError
from seg_perception.runtime.json_record import decode


@dataclass(frozen=True)
class Leaf:
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    groups: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, Any]
    best: Leaf | None = None


VALID = {
    "leaves": [{"name": "a", "color": [1, 2, 3]}],
    "groups": {"all": ["a"]},
    "notes": {"anything": [None, 1.5, True]},
}


def test_nested_records_come_out_typed() -> None:
    assert decode(Tree, VALID, "tree") == Tree(
        leaves=(Leaf("a", (1, 2, 3)),),
        groups={"all": ("a",)},
        notes={"anything": [None, 1.5, True]},
    )


def test_what_has_a_default_may_be_missing() -> None:
    leaf = {"name": "b", "color": [4, 5, 6]}
    assert decode(Tree, VALID | {"best": leaf}, "tree").best == Leaf("b", (4, 5, 6))
    assert decode(Tree, VALID | {"best": None}, "tree").best is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaves": {}}, r"tree\.leaves is \{\} instead of a JSON array"),
        ({"leaves": [{"name": "a"}]}, r"tree\.leaves\[0\]: fields missing \['color'\]"),
        ({"leaves": [{"name": 1, "color": [1, 2, 3]}]}, r"leaves\[0\]\.name is 1 .* string"),
        ({"leaves": [{"name": "a", "color": [1, 2]}]}, r"color has 2 items instead of 3"),
        ({"leaves": [{"name": "a", "color": [1, 2, 3.0]}]}, r"color\[2\] is 3\.0 .* integer"),
        ({"leaves": [{"name": "a", "color": [1, 2, True]}]}, r"color\[2\] is True .* integer"),
        ({"groups": {"all": "a"}}, r"tree\.groups\.all is 'a' instead of a JSON array"),
        ({"groups": None}, r"tree\.groups is None instead of a JSON object"),
        ({"more": 1}, r"unknown \['more'\]"),
        ({"best": {"name": "b"}}, r"tree\.best: fields missing \['color'\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_field(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        decode(Tree, VALID | change, "tree")
