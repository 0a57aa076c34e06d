"""A newcomer's script: load, read a video, draw, count.  `python first_script.py BUNDLE BACKEND VIDEO FOLDER`."""

import sys
from collections import Counter

import rkdeploy

total: Counter[str] = Counter()
with rkdeploy.load(sys.argv[1], conf=0.25, backend=sys.argv[2]) as model:
    for result in model.stream(sys.argv[3]):
        result.save(f"{sys.argv[4]}/{result.index}.png")
        total += Counter(result.counts())
print(dict(total))
