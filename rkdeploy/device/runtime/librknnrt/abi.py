"""The C ABI of librknnrt: structures and constants of rknn_api.h 2.3.2 on 64-bit Linux.

Sizes and offsets are the compiler's (equal on x86-64 and aarch64) and are compared with its own list in the tests.
Names and field names are those of the header.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_char,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import IntEnum
from typing import Any, Final

rknn_context = c_uint64  # 32 bits on 32-bit ARM, which rkdeploy does not run on

FLAG_COLLECT_PERF: Final = 0x8
SYNC_TO_DEVICE: Final = 1
SYNC_FROM_DEVICE: Final = 2

TIMEOUT: Final = -2
DEVICE_UNAVAILABLE: Final = -3
MODEL_INVALID: Final = -6

RETURN_CODES: Final[dict[int, str]] = {
    -1: "RKNN_ERR_FAIL: the call failed, the runtime gives no reason",
    -2: "RKNN_ERR_TIMEOUT: the NPU did not finish in time",
    -3: "RKNN_ERR_DEVICE_UNAVAILABLE: there is no NPU device, or its driver is not loaded",
    -4: "RKNN_ERR_MALLOC_FAIL: not enough memory",
    -5: "RKNN_ERR_PARAM_INVALID: the runtime rejected a parameter",
    -6: "RKNN_ERR_MODEL_INVALID: the runtime cannot read the model",
    -7: "RKNN_ERR_CTX_INVALID: the context is not valid",
    -8: "RKNN_ERR_INPUT_INVALID: the runtime rejected the input",
    -9: "RKNN_ERR_OUTPUT_INVALID: the runtime rejected the output buffers",
    -10: "RKNN_ERR_DEVICE_UNMATCH: runtime and driver do not fit the device",
    -11: "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL: the model was precompiled for another driver",
    -12: "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION: the driver does not know the model's optimization level",
    -13: "RKNN_ERR_TARGET_PLATFORM_UNMATCH: the model was built for another SoC",
}
"""Return code -> the header's name and what it means."""


class Query(IntEnum):
    """Commands of rknn_query."""

    IN_OUT_NUM = 0
    INPUT_ATTR = 1
    OUTPUT_ATTR = 2
    PERF_DETAIL = 3
    PERF_RUN = 4
    SDK_VERSION = 5
    MEM_SIZE = 6
    CUSTOM_STRING = 7
    NATIVE_INPUT_ATTR = 8
    NATIVE_OUTPUT_ATTR = 9


class TensorFormat(IntEnum):
    """Memory layouts."""

    NCHW = 0
    NHWC = 1
    NC1HWC2 = 2
    UNDEFINED = 3


TENSOR_DTYPES: Final[tuple[str, ...]] = (
    "float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool", "int4", "bfloat16",
)  # fmt: skip
"""numpy names of rknn_tensor_type, by its numbers; the last two do not exist in numpy."""

UINT8: Final = TENSOR_DTYPES.index("uint8")
AFFINE_ASYMMETRIC: Final = 2


class InputOutputNum(ctypes.Structure):
    """rknn_input_output_num."""

    _fields_ = (("n_input", c_uint32), ("n_output", c_uint32))


class TensorAttr(ctypes.Structure):
    """rknn_tensor_attr."""

    _fields_ = (
        ("index", c_uint32),
        ("n_dims", c_uint32),
        ("dims", c_uint32 * 16),
        ("name", c_char * 256),
        ("n_elems", c_uint32),
        ("size", c_uint32),
        ("fmt", c_int32),
        ("type", c_int32),
        ("qnt_type", c_int32),
        ("fl", c_int8),
        ("zp", c_int32),
        ("scale", c_float),
        ("w_stride", c_uint32),
        ("size_with_stride", c_uint32),
        ("pass_through", c_uint8),
        ("h_stride", c_uint32),
    )


class PerfDetail(ctypes.Structure):
    """rknn_perf_detail; the text belongs to the context."""

    _fields_ = (("perf_data", c_void_p), ("data_len", c_uint64))


class PerfRun(ctypes.Structure):
    """rknn_perf_run, in microseconds."""

    _fields_ = (("run_duration", c_int64),)


class SdkVersion(ctypes.Structure):
    """rknn_sdk_version."""

    _fields_ = (("api_version", c_char * 256), ("drv_version", c_char * 256))


class MemSize(ctypes.Structure):
    """rknn_mem_size, in bytes."""

    _fields_ = (
        ("total_weight_size", c_uint32),
        ("total_internal_size", c_uint32),
        ("total_dma_allocated_size", c_uint64),
        ("total_sram_size", c_uint32),
        ("free_sram_size", c_uint32),
        ("reserved", c_uint32 * 10),
    )


class CustomString(ctypes.Structure):
    """rknn_custom_string."""

    _fields_ = (("string", c_char * 1024),)


class TensorMem(ctypes.Structure):
    """rknn_tensor_mem."""

    _fields_ = (
        ("virt_addr", c_void_p),
        ("phys_addr", c_uint64),
        ("fd", c_int32),
        ("offset", c_int32),
        ("size", c_uint32),
        ("flags", c_uint32),
        ("priv_data", c_void_p),
    )


class Input(ctypes.Structure):
    """rknn_input."""

    _fields_ = (
        ("index", c_uint32),
        ("buf", c_void_p),
        ("size", c_uint32),
        ("pass_through", c_uint8),
        ("type", c_int32),
        ("fmt", c_int32),
    )


class Output(ctypes.Structure):
    """rknn_output."""

    _fields_ = (
        ("want_float", c_uint8),
        ("is_prealloc", c_uint8),
        ("index", c_uint32),
        ("buf", c_void_p),
        ("size", c_uint32),
    )


class RunExtend(ctypes.Structure):
    """rknn_run_extend."""

    _fields_ = (("frame_id", c_uint64), ("non_block", c_int32), ("timeout_ms", c_int32), ("fence_fd", c_int32))


_CONTEXT = rknn_context
PROTOTYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "rknn_init": (c_int, [POINTER(_CONTEXT), c_void_p, c_uint32, c_uint32, c_void_p]),
    "rknn_dup_context": (c_int, [POINTER(_CONTEXT), POINTER(_CONTEXT)]),
    "rknn_destroy": (c_int, [_CONTEXT]),
    "rknn_query": (c_int, [_CONTEXT, c_int, c_void_p, c_uint32]),
    "rknn_inputs_set": (c_int, [_CONTEXT, c_uint32, POINTER(Input)]),
    "rknn_set_core_mask": (c_int, [_CONTEXT, c_int]),
    "rknn_run": (c_int, [_CONTEXT, POINTER(RunExtend)]),
    "rknn_outputs_get": (c_int, [_CONTEXT, c_uint32, POINTER(Output), c_void_p]),
    "rknn_outputs_release": (c_int, [_CONTEXT, c_uint32, POINTER(Output)]),
    "rknn_create_mem": (POINTER(TensorMem), [_CONTEXT, c_uint32]),
    "rknn_destroy_mem": (c_int, [_CONTEXT, POINTER(TensorMem)]),
    "rknn_set_io_mem": (c_int, [_CONTEXT, POINTER(TensorMem), POINTER(TensorAttr)]),
    "rknn_mem_sync": (c_int, [_CONTEXT, POINTER(TensorMem), c_int]),
}
"""Function -> result and argument types."""

REQUIRED: Final = (
    "rknn_init",
    "rknn_destroy",
    "rknn_query",
    "rknn_inputs_set",
    "rknn_run",
    "rknn_outputs_get",
    "rknn_outputs_release",
)
"""Functions that every runtime has; the others came later, and rkdeploy works without them."""
