"""Compare two bundles of one model, as in a notebook: predicted time and memory, accuracy, and where they differ most.

    rkdeploy build best.pt --out int8
    rkdeploy build best.pt --dtype fp16 --out fp16
    python compare_bundles.py int8/best-rk3588-int8 fp16/best-rk3588-fp16 images/

Run as built, in the vendor's NPU simulator.
"""

# %%
import sys
from collections import Counter
from pathlib import Path

import rkdeploy

first, second, folder = sys.argv[1:4]
backend = sys.argv[4] if len(sys.argv) > 4 else "simulator"

# %% Predicted time and memory
for bundle in (first, second):
    (predicted,) = rkdeploy.estimate(bundle).predictions
    memory = (predicted.weight_kib + predicted.internal_kib) / 1024
    print(f"{Path(bundle).name}: {predicted.time_ms:.2f} ms and {memory:.1f} MiB predicted")

# %% What each finds in every image
found: dict[str, list[rkdeploy.Result]] = {}
for bundle in (first, second):
    with rkdeploy.load(bundle, backend=backend) as model:
        found[bundle] = list(model.stream(folder))
    print(f"{Path(bundle).name}: {dict(sum((Counter(result.counts()) for result in found[bundle]), Counter[str]()))}")

# %% The images on which they differ most
differences = [(abs(len(one) - len(other)), one.source) for one, other in zip(found[first], found[second], strict=True)]
for difference, source in sorted(differences, reverse=True)[:5]:
    print(f"{source}: {difference} objects more or fewer")
