/* Head tensors as they lie in memory, and the reading of some of their values.
 *
 * Everything here is told where to read by the caller, in strides that it took from an array with its shape: no address
 * is computed but from those and from cells and channels below the tensor's own. */

#ifndef RKDEPLOY_TENSOR_H
#define RKDEPLOY_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

/* Values may lie at any address: a runtime's memory, a slice of another array. */
typedef int16_t __attribute__((aligned(1), may_alias)) loose_int16;
typedef uint16_t __attribute__((aligned(1), may_alias)) loose_uint16;
typedef int32_t __attribute__((aligned(1), may_alias)) loose_int32;
typedef uint32_t __attribute__((aligned(1), may_alias)) loose_uint32;
typedef float __attribute__((aligned(1), may_alias)) loose_float;

enum { INT8, UINT8, INT16, FLOAT16, FLOAT32 };
enum { LANES = 32 }; /* cells read side by side: more than GCC unrolls, so that it makes vectors of loops over them */

/* Channel c of cell (y, x) lies at values + c / lanes * block_stride + c % lanes * lane_stride + y * y_stride
 * + x * x_stride, in bytes.  real = (value - zero_point) * scale. */
struct tensor {
    const char *values;
    int64_t block_stride, lane_stride, y_stride, x_stride;
    int32_t channels, lanes, height, width;
    int32_t kind;
    float zero_point, scale;
};

/* Which raw values pass: NONE; those >= bound; or of floats, whose bits are compared, those with unsigned bits <= bound. */
enum { NONE, AT_LEAST, BITS_AT_MOST };
struct limit {
    int32_t rule;
    int32_t bound; /* for BITS_AT_MOST the bits of an unsigned number */
};

static inline int64_t size_of(int32_t kind) {
    return kind == FLOAT32 ? 4 : kind >= INT16 ? 2 : 1;
}

static inline int64_t channel_offset(const struct tensor *tensor, int32_t channel) {
    return channel / tensor->lanes * tensor->block_stride + channel % tensor->lanes * tensor->lane_stride;
}

static inline const char *cell_at(const struct tensor *tensor, int64_t cell) {
    int32_t y = (int32_t)cell / tensor->width, x = (int32_t)cell % tensor->width;
    return tensor->values + y * tensor->y_stride + x * tensor->x_stride;
}

static inline float of_bits(uint32_t bits) {
    union { uint32_t bits; float value; } number = {bits};
    return number.value;
}

static inline uint32_t bits_of(float value) {
    union { float value; uint32_t bits; } number = {value};
    return number.bits;
}

static inline float of_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    if (rest >= 0x0f800000u) return of_bits(sign | rest | 0x7f800000u); /* infinite or NaN */
    /* 2^112 moves the exponent from float16's bias to float32's, of subnormal numbers too. */
    return of_bits(sign | bits_of(of_bits(rest) * 0x1p112f));
}

/* The raw values at `offset` bytes from each of LANES cells. */
static inline void read_lanes(int32_t kind, const char *const *cells, int64_t offset, float *raw) {
    switch (kind) {
    case INT8:
        for (int i = 0; i < LANES; i++) raw[i] = *(const int8_t *)(cells[i] + offset);
        break;
    case UINT8:
        for (int i = 0; i < LANES; i++) raw[i] = *(const uint8_t *)(cells[i] + offset);
        break;
    case INT16:
        for (int i = 0; i < LANES; i++) raw[i] = *(const loose_int16 *)(cells[i] + offset);
        break;
    case FLOAT16:
        for (int i = 0; i < LANES; i++) raw[i] = of_half(*(const loose_uint16 *)(cells[i] + offset));
        break;
    default:
        for (int i = 0; i < LANES; i++) raw[i] = *(const loose_float *)(cells[i] + offset);
    }
}

static inline float read_real(const struct tensor *tensor, const char *at) {
    float raw;
    switch (tensor->kind) {
    case INT8: raw = *(const int8_t *)at; break;
    case UINT8: raw = *(const uint8_t *)at; break;
    case INT16: raw = *(const loose_int16 *)at; break;
    case FLOAT16: raw = of_half(*(const loose_uint16 *)at); break;
    default: raw = *(const loose_float *)at;
    }
    return (raw - tensor->zero_point) * tensor->scale;
}

/* Values in a row that pass, see scan.c. */
enum { PIECE = 2048 };
int64_t scan(const struct tensor *tensor, struct limit limit, const char *first, int64_t stride, int64_t count,
             int32_t *places);

#endif
