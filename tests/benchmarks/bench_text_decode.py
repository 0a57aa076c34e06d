"""Speed of reading text from a recognizer's scores, compared with the usual numpy code.

Prints one line per head and dtype: the median time from the tensor to the text with its confidence.  The usual code is
what demos of PP-OCR and of plates do: dequantize, softmax over everything, argmax and max of each column, a loop over
the columns.  Both read the same text before anything is timed.  `nhwc` and `nc1hwc2` are ours on the same tensor as an
NPU lays it out in memory, `numpy` is ours without the C library.

    python -m tests.benchmarks.bench_text_decode --repeats 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.text_reader import TextReader
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.benchmarks.bench_decode import as_nc1hwc2, as_nhwc, by_numpy, median_ms

HEADS = {"LPRNet": (68, 18, 7), "plate CRNN": (78, 21, 7), "PP-OCRv4": (6625, 40, 12), "PP-OCRv5": (18385, 40, 12)}
"""Scores, columns and characters of a line."""


def head(scores: int, columns: int, letters: int, dtype: str) -> tuple[ModelSpec, HeadTensor]:
    """A line of text as a trained recognizer gives it: characters of two columns each, blanks between them."""
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1.5, (1, scores, 1, columns)).astype(np.float32)
    best = np.zeros(columns, int)
    for start in np.linspace(1, columns - 2, letters).astype(int):
        best[start] = rng.integers(1, scores)
    real[0, best, 0, np.arange(columns)] = rng.normal(14, 1.5, columns)
    characters = ("", *(chr(0x4E00 + number) for number in range(scores - 1)))
    spec = ModelSpec(
        "ppocr", "text", ("text",), InputSpec("images", 48, 320, fit="stretch"),
        (HeadOutput("text", "text_logits", 0, 48, (1, scores, 1, columns)),), text=TextFormula(characters),
    )  # fmt: skip
    if dtype != "int8":
        return spec, HeadTensor(real.astype(dtype))
    scale = float(np.abs(real).max()) / 127
    return spec, HeadTensor(np.rint(real / scale).astype(np.int8), scale)


def usual(tensor: HeadTensor, characters: tuple[str, ...]) -> tuple[str, float]:
    """The usual code, as in CTCLabelDecode of PaddleOCR."""
    values = tensor.values.astype(np.float32)
    rows: NDArray[np.float32] = ((values - tensor.zero_point) * tensor.scale)[0, :, 0].T
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    ids, best = shares.argmax(axis=1), shares.max(axis=1)
    letters, confidences = [], []
    for column in range(len(ids)):
        if ids[column] == 0 or (column > 0 and ids[column] == ids[column - 1]):
            continue
        letters.append(characters[ids[column]])
        confidences.append(best[column])
    return "".join(letters), float(np.mean(confidences)) if confidences else 0.0


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=100)
    arguments = parser.parse_args()
    columns = ("head", "dtype", "usual ms", "ours ms", "ratio", "nhwc ms", "nc1hwc2 ms", "numpy ms")
    print("".join(f"{name:>11}" for name in columns))
    for name, (scores, steps, letters) in HEADS.items():
        for dtype in ("int8", "float16", "float32"):
            spec, tensor = head(scores, steps, letters, dtype)
            reader = TextReader(spec)
            assert spec.text is not None

            def run(one: HeadTensor, reader: TextReader = reader) -> Callable[[], object]:
                return lambda: reader([one])

            def theirs(one: HeadTensor = tensor, known: tuple[str, ...] = spec.text.characters) -> tuple[str, float]:
                return usual(one, known)

            text, confidence = theirs()
            for one in (tensor, as_nhwc(tensor), as_nc1hwc2(tensor)):
                found = reader([one])
                assert found.text == text
                assert abs(found.confidence - confidence) < 1e-4
            timed = median_ms(
                [theirs, run(tensor), run(as_nhwc(tensor)), run(as_nc1hwc2(tensor))], max(5, arguments.repeats // 5)
            )
            with by_numpy():
                slow = median_ms([run(tensor)], max(5, arguments.repeats // 5))[0][1]
            usual_ms, ours, nhwc, packed = (each[1] for each in timed)
            figures = (usual_ms, ours, usual_ms / ours, nhwc, packed, slow)
            print(f"{name:>11}{dtype:>11}" + "".join(f"{figure:11.3f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
