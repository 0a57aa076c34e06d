"""Cuts a toolkit's log to what its compiler says: from the layer table to the memory totals, gzipped.

python -m tests.data.compile_log.trim toolkit.log trimmed.txt.gz
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

lines = Path(sys.argv[1]).read_bytes().decode("utf-8", "replace").splitlines()
begin = max(i for i, line in enumerate(lines) if "Network Layer Information Table" in line)
end = max(i for i, line in enumerate(lines) if "Total Weight Memory Size" in line)
text = "\n".join(lines[begin - 1 : end + 2]) + "\n"
Path(sys.argv[2]).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
