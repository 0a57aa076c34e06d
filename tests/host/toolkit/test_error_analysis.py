"""The toolkit's table of layer errors, as text written by toolkit 2.5.0."""

from __future__ import annotations

from math import isnan

import pytest

from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit.error_analysis import LayerError, mean_over_images, parse_error_analysis

TEXT = """\
# simulator_error: calculate the output error of each layer of the simulator (compared to the 'golden' value).

layer_name                                               simulator_error
                                                     entire              single
                                                  cos      euc        cos      euc
----------------------------------------------------------------------------------------
[Input] images                                  1.00000 | 0.00000   1.00000 | 0.00000
[Conv] model.0.conv/Conv_output_0               0.99996 | 1.00433   0.99996 | 1.00433
[Conv] stride8_scores.logits
[Sigmoid] stride8_scores_int8                   \x1b[1;33m0.82876\x1b[0m | 12.12168  0.99954 | 0.65785
[Conv] model.9.cv2.conv/Conv_output_0           -0.19473 | 160.594040.99997 | 1.12698
"""


def test_rows_by_hand() -> None:
    """Every layer with figures is read: colors, negative cosines and figures that run together included."""
    rows = parse_error_analysis(TEXT)
    assert [row.name for row in rows] == [
        "images", "model.0.conv/Conv_output_0", "stride8_scores_int8", "model.9.cv2.conv/Conv_output_0",
    ]  # fmt: skip
    assert rows[2] == LayerError("Sigmoid", "stride8_scores_int8", 0.82876, 12.12168, 0.99954, 0.65785)
    assert rows[3] == LayerError("Conv", "model.9.cv2.conv/Conv_output_0", -0.19473, 160.59404, 0.99997, 1.12698)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no layer"),
        ("[Conv] a   0.1 | x   1.00000 | 0.00000\n", "expected 4 figures"),
        ("[Conv] a  \n", "no layer"),
    ],
)
def test_other_text(text: str, message: str) -> None:
    """Text that is not such a table is an error, not an empty answer."""
    with pytest.raises(ToolkitError, match=message):
        parse_error_analysis(text)


def test_mean_by_hand() -> None:
    """Figures of several images are averaged a layer; images of another model are refused."""
    a = LayerError("Conv", "a", 1.0, 2.0, 0.5, 0.0)
    b = LayerError("Conv", "a", 0.5, 4.0, 1.0, 1.0)
    assert mean_over_images([(a,), (b,)]) == (LayerError("Conv", "a", 0.75, 3.0, 0.75, 0.5),)
    with pytest.raises(ToolkitError, match="different layers"):
        mean_over_images([(a,), (a, b)])


def test_distances_of_2_3_2_have_fewer_decimals() -> None:
    """Rows as rknn-toolkit2 2.3.2 writes them."""
    first, second = parse_error_analysis(
        "[Input] images                  1.00000 | 0.0       1.00000 | 0.0\n"
        "[exDataConvert] images_int8     0.99999 | 0.2190    0.99998 | 12.2191\n"
    )
    assert (first.entire_cosine, first.entire_distance, first.single_distance) == (1.0, 0.0, 0.0)
    assert (second.entire_distance, second.single_cosine, second.single_distance) == (0.219, 0.99998, 12.2191)


@pytest.mark.parametrize("word", ["f_zero", "q_zero"])
def test_outputs_of_zeros_say_nothing(word: str) -> None:
    """Scores that either model leaves zero all over have no figures in that image: only the others count, if any."""
    zero = parse_error_analysis(f"[Sigmoid] scores_int8   {word} | {word}    {word} | {word}\n")
    assert [row.name for row in zero] == ["scores_int8"]
    assert isnan(zero[0].single_cosine)
    figures = parse_error_analysis("[Sigmoid] scores_int8   0.90000 | 2.00000    0.80000 | 1.00000\n")
    assert mean_over_images([zero, figures, zero]) == figures
    assert mean_over_images([zero]) == ()
