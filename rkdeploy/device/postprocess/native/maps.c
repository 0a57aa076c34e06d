/* Coarser maps at source pixels: their interpolated values (resampling.py), and the class of each pixel from the score
 * planes (best_classes.py).
 *
 * A cell lies between four places of the map.  Where one class is the best at all four, it is the best in between;
 * elsewhere the scores of the classes that can win are interpolated.  Each sum and product is rounded as numpy rounds
 * it there, so that both find the same classes. */

#include "tensor.h"

/* Source pixels along one axis: pixel i lies `fraction[i]` behind place `low[i]` of the map; low ascends. */
struct axis {
    const int64_t *low;
    const float *fraction;
    int64_t count;
};

static int fits(const struct axis *axis, int32_t size) {
    for (int64_t i = 0; i < axis->count; i++)
        if (axis->low[i] < 0 || axis->low[i] >= size || (i && axis->low[i] < axis->low[i - 1])) return 0;
    return 1;
}

static float raw_at(const struct tensor *tensor, const char *at) {
    switch (tensor->kind) {
    case INT8: return *(const int8_t *)at;
    case UINT8: return *(const uint8_t *)at;
    case INT16: return *(const loose_int16 *)at;
    case FLOAT16: return of_half(*(const loose_uint16 *)at);
    default: return *(const loose_float *)at;
    }
}

/* The first class with the highest score at each place of a row of the map. */
static void best_of_row(const struct tensor *tensor, int32_t y, float *top, uint8_t *best) {
    const char *row = tensor->values + y * tensor->y_stride;
    for (int32_t x = 0; x < tensor->width; x++) {
        top[x] = raw_at(tensor, row + x * tensor->x_stride);
        best[x] = 0;
    }
    for (int32_t c = 1; c < tensor->channels; c++) {
        const char *plane = row + channel_offset(tensor, c);
        for (int32_t x = 0; x < tensor->width; x++) {
            float value = raw_at(tensor, plane + x * tensor->x_stride);
            if (value > top[x]) {
                top[x] = value;
                best[x] = (uint8_t)c;
            }
        }
    }
}

/* The same for bytes that lie side by side: compilers make vectors of it. */
static void best_of_bytes(const struct tensor *tensor, int32_t y, int8_t *restrict top, uint8_t *restrict best) {
    const uint8_t *row = (const uint8_t *)(tensor->values + y * tensor->y_stride);
    uint8_t flip = tensor->kind == UINT8 ? 0x80 : 0; /* unsigned bytes in the order of signed ones */
    for (int32_t x = 0; x < tensor->width; x++) {
        top[x] = (int8_t)(row[x] ^ flip);
        best[x] = 0;
    }
    for (int32_t c = 1; c < tensor->channels; c++) {
        const uint8_t *plane = row + channel_offset(tensor, c);
        for (int32_t x = 0; x < tensor->width; x++) {
            int8_t value = (int8_t)(plane[x] ^ flip);
            best[x] = value > top[x] ? (uint8_t)c : best[x];
            top[x] = value > top[x] ? value : top[x];
        }
    }
}

/* The same for bytes of which each place has those of all classes, or of some, side by side. */
static void best_of_lanes(const struct tensor *tensor, int32_t y, uint8_t *best) {
    const char *row = tensor->values + y * tensor->y_stride;
    uint8_t flip = tensor->kind == UINT8 ? 0x80 : 0;
    for (int32_t x = 0; x < tensor->width; x++) {
        const char *place = row + x * tensor->x_stride;
        int32_t top = -129, at = 0;
        for (int32_t first = 0; first < tensor->channels; first += tensor->lanes) {
            const uint8_t *block = (const uint8_t *)(place + channel_offset(tensor, first));
            int32_t rest = tensor->channels - first, count = rest < tensor->lanes ? rest : tensor->lanes;
            for (int32_t i = 0; i < count; i++) {
                int8_t value = (int8_t)(block[i * tensor->lane_stride] ^ flip);
                at = value > top ? first + i : at;
                top = value > top ? value : top;
            }
        }
        best[x] = (uint8_t)at;
    }
}

static void best_of_map(const struct tensor *tensor, float *top, uint8_t *best) {
    int bytes = size_of(tensor->kind) == 1;
    for (int32_t y = 0; y < tensor->height; y++, best += tensor->width) {
        if (bytes && tensor->x_stride == 1) best_of_bytes(tensor, y, (int8_t *)top, best);
        else if (bytes && tensor->lanes > 1) best_of_lanes(tensor, y, best);
        else best_of_row(tensor, y, top, best);
    }
}

/* One cell whose corners have different classes. */
struct cell {
    const char *corner[4]; /* top left, top right, bottom left, bottom right */
    int32_t able;          /* classes that can win in it */
    uint8_t *classes;
    float *scores; /* 4 for each of them; for two classes 4 differences of the second from the first */
};

static float lowest_of(const float *four) {
    float least = four[0];
    for (int i = 1; i < 4; i++) least = four[i] < least ? four[i] : least;
    return least;
}

static float highest_of(const float *four) {
    float most = four[0];
    for (int i = 1; i < 4; i++) most = four[i] > most ? four[i] : most;
    return most;
}

static void read_corners(const struct tensor *tensor, const struct cell *cell, int32_t channel, float *four) {
    int64_t offset = channel_offset(tensor, channel);
    for (int i = 0; i < 4; i++) four[i] = raw_at(tensor, cell->corner[i] + offset);
}

/* A class that is below another one at all corners cannot win inside. */
static void find_able(const struct tensor *tensor, struct cell *cell) {
    float bound = 0.0f;
    for (int32_t c = 0; c < tensor->channels; c++) {
        float *four = cell->scores + 4 * (int64_t)c;
        read_corners(tensor, cell, c, four);
        float least = lowest_of(four);
        bound = c == 0 || least > bound ? least : bound;
    }
    cell->able = 0;
    for (int32_t c = 0; c < tensor->channels; c++) {
        const float *four = cell->scores + 4 * (int64_t)c;
        if (!(highest_of(four) >= bound)) continue;
        for (int i = 0; i < 4; i++) cell->scores[4 * (int64_t)cell->able + i] = four[i];
        cell->classes[cell->able++] = (uint8_t)c;
    }
    if (cell->able != 2) return;
    for (int i = 0; i < 4; i++) cell->scores[i] = cell->scores[4 + i] - cell->scores[i];
}

static void fill(const struct cell *cell, float down, const float *across, int64_t count, uint8_t *found) {
    const float *s = cell->scores;
    if (cell->able == 2) {
        float left = s[0] + (s[2] - s[0]) * down, right = s[1] + (s[3] - s[1]) * down, step = right - left;
        uint8_t first = cell->classes[0], second = cell->classes[1];
        for (int64_t i = 0; i < count; i++) found[i] = left + step * across[i] > 0.0f ? second : first;
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float top = 0.0f;
        uint8_t best = 0;
        for (int32_t k = 0; k < cell->able; k++) {
            const float *four = s + 4 * (int64_t)k;
            float left = four[0] + (four[2] - four[0]) * down, right = four[1] + (four[3] - four[1]) * down;
            float value = left + (right - left) * across[i];
            if (k == 0 || value > top) {
                top = value;
                best = cell->classes[k];
            }
        }
        found[i] = best;
    }
}

static int64_t end_of(const struct axis *axis, int64_t start) {
    int64_t end = start + 1;
    while (end < axis->count && axis->low[end] == axis->low[start]) end++;
    return end;
}

/* Arguments: best: height * width bytes, and scores: 4 * channels floats or width, whichever is more, are memory to
 * work in; classes: channels bytes of it; found: rows->count * columns->count bytes, the result.  Returns 0, or -1 for
 * axes that leave the map. */
EXPORTED int64_t rkdeploy_best_classes(const struct tensor *tensor, const struct axis *rows, const struct axis *columns,
                                       uint8_t *best, float *scores, uint8_t *classes, uint8_t *found) {
    if (!fits(rows, tensor->height) || !fits(columns, tensor->width)) return -1;
    best_of_map(tensor, scores, best);
    struct cell cell = {{0}, 0, classes, scores};
    for (int64_t r = 0, r_end; r < rows->count; r = r_end) {
        r_end = end_of(rows, r);
        int64_t y = rows->low[r], y2 = y + 1 < tensor->height ? y + 1 : y;
        const uint8_t *upper = best + y * tensor->width, *lower = best + y2 * tensor->width;
        const char *top = tensor->values + y * tensor->y_stride, *bottom = tensor->values + y2 * tensor->y_stride;
        for (int64_t c = 0, c_end; c < columns->count; c = c_end) {
            c_end = end_of(columns, c);
            int64_t x = columns->low[c], x2 = x + 1 < tensor->width ? x + 1 : x;
            uint8_t *at = found + r * columns->count + c;
            if (upper[x] == upper[x2] && upper[x] == lower[x] && upper[x] == lower[x2]) {
                /* The cells to its right that are of the same class are filled with it. */
                while (c_end < columns->count) {
                    int64_t next = columns->low[c_end], next2 = next + 1 < tensor->width ? next + 1 : next;
                    if (upper[next] != upper[x] || upper[next2] != upper[x] || lower[next] != upper[x] ||
                        lower[next2] != upper[x])
                        break;
                    c_end = end_of(columns, c_end);
                }
                for (int64_t i = r; i < r_end; i++, at += columns->count)
                    for (int64_t j = 0; j < c_end - c; j++) at[j] = upper[x];
                continue;
            }
            cell.corner[0] = top + x * tensor->x_stride, cell.corner[1] = top + x2 * tensor->x_stride;
            cell.corner[2] = bottom + x * tensor->x_stride, cell.corner[3] = bottom + x2 * tensor->x_stride;
            find_able(tensor, &cell);
            for (int64_t i = r; i < r_end; i++, at += columns->count)
                fill(&cell, rows->fraction[i], columns->fraction + c, c_end - c, at);
        }
    }
    return 0;
}

/* One row of a plane of floats at the columns of the source. */
static void row_across(const float *row, int32_t width, const struct axis *columns, float *values) {
    for (int64_t i = 0; i < columns->count; i++) {
        int64_t x = columns->low[i], x2 = x + 1 < width ? x + 1 : x;
        values[i] = row[x] + (row[x2] - row[x]) * columns->fraction[i];
    }
}

/* Arguments: plane: height * width floats; room: 2 * columns->count floats of memory to work in; values:
 * rows->count * columns->count floats, the result.  Returns 0, or -1 for axes that leave the plane. */
EXPORTED int64_t rkdeploy_resample(const float *plane, int64_t height, int64_t width, const struct axis *rows,
                                   const struct axis *columns, float *room, float *values) {
    if (!fits(rows, (int32_t)height) || !fits(columns, (int32_t)width)) return -1;
    float *upper = room, *lower = room + columns->count;
    int64_t have = -1; /* the row of the plane that is in `upper` */
    for (int64_t r = 0; r < rows->count; r++, values += columns->count) {
        int64_t y = rows->low[r], y2 = y + 1 < height ? y + 1 : y;
        if (y != have) {
            if (have >= 0 && y == have + 1) {
                float *other = upper;
                upper = lower, lower = other;
            } else {
                row_across(plane + y * width, (int32_t)width, columns, upper);
            }
            row_across(plane + y2 * width, (int32_t)width, columns, lower);
            have = y;
        }
        float down = rows->fraction[r];
        for (int64_t i = 0; i < columns->count; i++) values[i] = (lower[i] - upper[i]) * down + upper[i];
    }
    return 0;
}
