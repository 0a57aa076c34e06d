"""Class names in the forms in which trainers and exporters write them."""

from __future__ import annotations

import pytest

from rkdeploy.contract.class_names import ordered_names


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["bolt", "nut"], ("bolt", "nut")),
        ({1: "nut", 0: "bolt"}, ("bolt", "nut")),
        ({"0": "bolt", "1": "nut"}, ("bolt", "nut")),
        ([0, 1, 2], ("0", "1", "2")),
        ({0: 7, 1: 2.5}, ("7", "2.5")),
        ([True, False], ("True", "False")),
        ([], ()),
    ],
)
def test_forms(written: object, names: tuple[str, ...]) -> None:
    """Numbers become text, keys of digits numbers."""
    assert ordered_names(written) == names


@pytest.mark.parametrize(
    "written",
    [
        {0: "a", 2: "b"},
        {1: "a", 2: "b"},
        {0: "a", "0": "b"},
        {"a": "b"},
        ["a", None],
        [["a"]],
        [10**5000],
        [float("nan")],
        "ab",
        7,
        None,
    ],
)
def test_nothing_else(written: object) -> None:
    """Gaps, doubles, and values that are not names."""
    assert ordered_names(written) is None
