"""Roles of output tensors: what the channels hold."""

from __future__ import annotations

from typing import Literal

AnchorRole = Literal[
    "anchor_map", "anchor_boxes", "anchor_xy", "anchor_wh", "anchor_scores", "anchor_coefficients",
    "anchor_keypoint_xy", "anchor_keypoint_scores", "anchor_size_bins"
]  # fmt: skip
"""Roles of an anchor head's tensor (1, na * fields, H, W), by the fields in its channels, anchor-major:

- `anchor_map`: x, y, w, h, objectness, class 0, class 1, ..., coefficient 0, ... (5 + nc + nm fields per anchor)
- `anchor_boxes`: x, y, w, h;  `anchor_xy`: x, y;  `anchor_wh`: w, h
- `anchor_scores`: objectness, class 0, class 1, ... (1 + nc fields an anchor)
- `anchor_coefficients`: the mask coefficients (nm fields an anchor)
- `anchor_keypoint_xy`: x, y of each keypoint (`KeypointLayout`);  `anchor_keypoint_scores`: one logit per keypoint
- `anchor_size_bins`: one logit per bin of the width, then one per bin of the height (`SizeBins`)
"""
PointRole = Literal[
    "dfl_boxes", "ltrb_boxes", "center_boxes", "prior_boxes", "decoded_boxes", "objectness", "scores", "keypoint_xy",
    "keypoint_scores", "mask_coefficients", "angles"
]  # fmt: skip
"""Roles of a tensor (1, C, H, W) of an anchor-free head, or of SSD's, by the values in its channels for each cell.
Where a cell has several boxes (`PointFormula.per_cell`, or SSD's anchors), the values of the first come first:

- `dfl_boxes`: 4 * reg_max logits, side-major: the distances to left, top, right and bottom as distributions over
  0 .. reg_max - 1 cells (Distribution Focal Loss);  `ltrb_boxes`: the four distances themselves, in cells
- `center_boxes`: x and y of the center from the cell's point, in cells; logarithms of width and height in cells
- `prior_boxes`: center and size relative to an anchor (`PriorFormula`)
- `decoded_boxes`: what the graph has decoded, of the whole input (`PointFormula.unit`, `PointFormula.corners`)
- `objectness`: one logit, which `PointFormula.score` joins with the classes' (YOLOX, YuNet, PicoDet)
- `scores`: nc class logits
- `keypoint_xy`: x, y of each keypoint, relative to the cell (`KeypointLayout`);  `keypoint_scores`: one visibility
  logit per keypoint
- `mask_coefficients`: nm;  `angles`: one, read by `ModelSpec.angle`
"""
QueryRole = Literal["query_scores", "query_boxes"]
"""Roles of a transformer's head, whose rows are queries instead of cells (1, C, 1, N):

- `query_scores`: nc class logits of each query
- `query_boxes`: x and y of the center, width and height, each as a fraction of the input's width or height
"""
ImageRole = Literal["prototypes", "class_map", "class_scores", "depth_map", "text_logits", "embedding", "area_map"]
"""Tensors that speak of the whole image:

- `prototypes`: (1, nm, H, W), what mask coefficients combine
- `class_map`: (1, n, H, W), one score plane for each of n classes; the largest wins.  (1, 1, H, W) for two classes: the
  second one's probability is above 0.5
- `depth_map`: (1, 1, H, W), read by `ModelSpec.depth`
- `area_map`: (1, 1, H, W), for each pixel the probability that it belongs to the shrunken area of a text, or its logit;
  read by `ModelSpec.areas`
- `class_scores`: (1, nc, 1, 1), a classifier's, or those of an attribute of a text (a plate's color)
- `text_logits`: (1, K, 1, T), K scores of characters in each of T columns along a line of text, read by
  `ModelSpec.text`
- `embedding`: (1, D, 1, 1), a vector of the image, read by `ModelSpec.embedding`
"""
FormRole = Literal["score_sum", "joined"]
"""Tensors that only the forms of other programs have:

- `score_sum`: (1, 1, H, W), the sum of a cell's class scores, at most 1; not read here
- `joined`: several quantities side by side (`HeadOutput.parts`)
"""
OutputRole = AnchorRole | PointRole | QueryRole | ImageRole | FormRole
