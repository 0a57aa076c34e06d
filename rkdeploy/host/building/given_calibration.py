"""Choice between the quantization that an ONNX file brings and a new one."""

from __future__ import annotations

from rkdeploy.contract.chips import INT8
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.given_ranges import Grids, grids_of_cut
from rkdeploy.host.toolkit.files import FOUND_BY_STEP_1


def given_grids(network: Network, options: BuildOptions) -> Grids | None:
    """Scales and zero points of the cut graph's activations that the file brings; None to calibrate all.

    Args:
        network: the network that is cut.
        options: of the build.
    """
    if not _takes_them(network, options):
        return None
    if options.form != "rkdeploy":  # whose outputs are computed from the head's
        return dict(network.given_grids)
    return grids_of_cut(network.given_grids, network.head, options.cut)


def require_no_search(network: Network, options: BuildOptions) -> None:
    """Check that no ranges are searched that the file brings.

    Raises:
        RkdeployError: naming the two options.
    """
    if _takes_them(network, options) and options.algorithm != FOUND_BY_STEP_1:
        raise RkdeployError(
            f"--algorithm {options.algorithm} searches ranges, and the quantized ONNX file brings its own.",
            "Leave it out, or add --calibration new to quantize the file again.",
        )


def _takes_them(network: Network, options: BuildOptions) -> bool:
    return network.is_quantized and options.calibration == "given" and options.dtype == INT8
