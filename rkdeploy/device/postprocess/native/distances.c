/* Boxes of some rows of an anchor-free head: rkdeploy/device/postprocess/distances.py, which is the reference, in C. */

#include "tensor.h"

struct box_level {
    struct tensor tensor;
    const float *exponentials; /* of the 256 values of eight bits; or NULL */
    int64_t first_row, end_row;
    float stride;
};

struct boxes {
    const struct box_level *levels;
    int64_t level_count, reg_max; /* 1: the tensor holds the distances themselves */
    float *bins;                  /* the caller's memory, (reg_max, LANES) */
};

/* 2^x of x <= 0 (or NaN) to 3e-7 of it, 1e-38 below -126: whole part to the exponent, the rest by Taylor's series. */
static inline float power_of_2(float x) {
    float clamped = x < -126.0f ? -126.0f : x;
    float shifted = clamped + 12582912.0f; /* 1.5 * 2^23: the last bits of the sum are the rounded whole number */
    float rest = clamped - (shifted - 12582912.0f);
    float sum = 1.54035304e-4f;
    sum = sum * rest + 1.33335581e-3f;
    sum = sum * rest + 9.61812911e-3f;
    sum = sum * rest + 5.55041087e-2f;
    sum = sum * rest + 2.40226507e-1f;
    sum = sum * rest + 6.93147181e-1f;
    sum = sum * rest + 1.0f;
    return sum * of_bits((bits_of(shifted) << 23) + 0x3f800000u);
}

static void read_reals(const struct tensor *tensor, const char *const *cells, int32_t channel, float *reals) {
    read_lanes(tensor->kind, cells, channel_offset(tensor, channel), reals);
    for (int i = 0; i < LANES; i++) reals[i] = (reals[i] - tensor->zero_point) * tensor->scale;
}

/* Softmax's numerators of the `reg_max` channels from `channel` on, to `bins`. */
static void weights_of(const struct box_level *level, const char *const *cells, int32_t channel, int32_t reg_max,
                       float *bins) {
    const struct tensor *tensor = &level->tensor;
    if (level->exponentials) {
        for (int32_t bin = 0; bin < reg_max; bin++) {
            int64_t offset = channel_offset(tensor, channel + bin);
            for (int i = 0; i < LANES; i++)
                bins[bin * LANES + i] = level->exponentials[*(const uint8_t *)(cells[i] + offset)];
        }
        return;
    }
    float greatest[LANES];
    for (int32_t bin = 0; bin < reg_max; bin++) {
        float *reals = bins + bin * LANES;
        read_reals(tensor, cells, channel + bin, reals);
        for (int i = 0; i < LANES; i++) greatest[i] = bin == 0 || reals[i] > greatest[i] ? reals[i] : greatest[i];
    }
    for (int32_t bin = 0; bin < reg_max; bin++)
        for (int i = 0; i < LANES; i++)
            bins[bin * LANES + i] = power_of_2((bins[bin * LANES + i] - greatest[i]) * 1.44269504f); /* 1 / ln 2 */
}

/* Expectation of softmax(bins) over 0 .. reg_max - 1. */
static void expectations(const float *bins, int32_t reg_max, float *distances) {
    float totals[LANES] = {0}, moments[LANES] = {0};
    for (int32_t bin = 0; bin < reg_max; bin++)
        for (int i = 0; i < LANES; i++) {
            totals[i] += bins[bin * LANES + i];
            moments[i] += bins[bin * LANES + i] * (float)bin;
        }
    for (int i = 0; i < LANES; i++) distances[i] = moments[i] / totals[i];
}

/* Distances left, top, right, bottom in cells of up to LANES rows of one level. */
static void distances_of(const struct boxes *boxes, const struct box_level *level, const int64_t *rows, int64_t count,
                         float distances[4][LANES]) {
    const char *cells[LANES];
    for (int i = 0; i < LANES; i++) /* where there are fewer, the last one again */
        cells[i] = cell_at(&level->tensor, rows[i < count ? i : count - 1] - level->first_row);
    int32_t reg_max = (int32_t)boxes->reg_max;
    for (int32_t side = 0; side < 4; side++) {
        if (reg_max == 1) {
            read_reals(&level->tensor, cells, side, distances[side]);
        } else {
            weights_of(level, cells, side * reg_max, reg_max, boxes->bins);
            expectations(boxes->bins, reg_max, distances[side]);
        }
    }
}

/* The formula of point_decode.py, operation by operation. */
static void corners_of(const struct box_level *level, int64_t row, float left, float top, float right, float bottom,
                       float *xyxy) {
    int64_t cell = row - level->first_row;
    float x = (float)(cell % level->tensor.width) + 0.5f, y = (float)(cell / level->tensor.width) + 0.5f;
    float x1 = x - left, y1 = y - top, x2 = x + right, y2 = y + bottom;
    float center_x = (x1 + x2) * 0.5f * level->stride, center_y = (y1 + y2) * 0.5f * level->stride;
    float half_w = (x2 - x1) * level->stride * 0.5f, half_h = (y2 - y1) * level->stride * 0.5f;
    xyxy[0] = center_x - half_w;
    xyxy[1] = center_y - half_h;
    xyxy[2] = center_x + half_w;
    xyxy[3] = center_y + half_h;
}

/* For each of `count` ascending rows, corners in pixels to `xyxy` (count, 4), or where that is NULL the distances in
 * cells to `distances` (4, count).  Returns 0, or -1 when there is a row that the levels do not have. */
EXPORTED int64_t rkdeploy_boxes(const struct boxes *boxes, const int64_t *rows, int64_t count, float *xyxy, float *distances) {
    int64_t at = 0;
    for (int64_t number = 0; number < boxes->level_count; number++) {
        const struct box_level *level = &boxes->levels[number];
        while (at < count && rows[at] >= level->first_row && rows[at] < level->end_row) {
            float found[4][LANES];
            int64_t some = 1;
            while (some < LANES && at + some < count && rows[at + some] >= level->first_row
                   && rows[at + some] < level->end_row)
                some++;
            distances_of(boxes, level, rows + at, some, found);
            for (int64_t i = 0; i < some; i++) {
                if (xyxy)
                    corners_of(level, rows[at + i], found[0][i], found[1][i], found[2][i], found[3][i],
                               xyxy + (at + i) * 4);
                else
                    for (int side = 0; side < 4; side++) distances[side * count + at + i] = found[side][i];
            }
            at += some;
        }
    }
    return at == count ? 0 : -1;
}
