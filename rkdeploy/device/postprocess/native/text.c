/* The best score of each column of a text recognizer (text_reader.py), and what the others of a column are below it.
 *
 * There are up to some ten thousand characters and some ten columns: the time goes into the search.  Values become signed
 * integers that ascend as they do ("keys"), so that the largest ones of groups of channels are found by vectors; then
 * only the group of a column's largest is searched for its place. */

#include "tensor.h"

enum { GROUP = 32, SLICE = 64, ROOM = 256 };

static inline int16_t half_key(uint16_t bits) {
    uint16_t value = bits == 0x8000 ? 0 : bits; /* -0 is 0 */
    return (int16_t)(value & 0x8000 ? value ^ 0x7fff : value);
}

static inline int32_t float_key(uint32_t bits) {
    uint32_t value = bits == 0x80000000u ? 0 : bits;
    return (int32_t)(value & 0x80000000u ? value ^ 0x7fffffffu : value);
}

/* Of `rows` rows of `width` <= ROOM values side by side, `stride` bytes apart: each place's largest and its row. */
#define DEFINE_ROWS(name, type, number, key)                                                                           \
    static void name##_rows(const char *values, int64_t stride, int64_t rows, int64_t width, number *restrict top,     \
                            int32_t *restrict row) {                                                                   \
        number here[ROOM];                                                                                             \
        int32_t group[ROOM];                                                                                           \
        for (int64_t i = 0; i < width; i++) top[i] = key(((const type *)values)[i]), group[i] = 0;                     \
        for (int64_t first = 0; first < rows; first += GROUP) {                                                        \
            int64_t end = first + GROUP < rows ? first + GROUP : rows;                                                 \
            const type *at = (const type *)(values + first * stride);                                                  \
            for (int64_t i = 0; i < width; i++) here[i] = key(at[i]);                                                  \
            for (int64_t r = first + 1; r < end; r++) {                                                                \
                at = (const type *)(values + r * stride);                                                              \
                for (int64_t i = 0; i < width; i++) here[i] = key(at[i]) > here[i] ? key(at[i]) : here[i];             \
            }                                                                                                          \
            for (int64_t i = 0; i < width; i++)                                                                        \
                if (here[i] > top[i]) top[i] = here[i], group[i] = (int32_t)first;                                     \
        }                                                                                                              \
        for (int64_t i = 0; i < width; i++) {                                                                          \
            int32_t r = group[i];                                                                                      \
            while (key(((const type *)(values + r * stride))[i]) != top[i]) r++;                                       \
            row[i] = r;                                                                                                \
        }                                                                                                              \
    }

/* The best channel of each column.  `run` channels lie side by side (`wide`: so do the columns' runs); a row is the
 * same run of all columns, or of one.  Channels behind the last whole run are compared one by one. */
#define DEFINE_BEST(name, type, number, key)                                                                           \
    DEFINE_ROWS(name, type, number, key)                                                                               \
                                                                                                                       \
    static void name(const struct tensor *tensor, int32_t *ids) {                                                      \
        int64_t size = sizeof(type), run = tensor->lanes, stride = tensor->block_stride;                               \
        if (run > 1 && tensor->lane_stride != size) run = tensor->channels + 1; /* no whole run */                     \
        if (run == tensor->channels) run = SLICE, stride = SLICE * size; /* one block of all channels, in slices */    \
        int64_t full = run <= ROOM ? tensor->channels / run : 0;                                                       \
        int wide = run == tensor->lanes && tensor->x_stride == run * size && full;                                     \
        int32_t columns = wide ? (int32_t)(ROOM / run) : 1;                                                            \
        number top[ROOM];                                                                                              \
        int32_t row[ROOM];                                                                                             \
        for (int32_t x = 0; x < tensor->width; x++) {                                                                  \
            const char *column = tensor->values + x * tensor->x_stride;                                                \
            int32_t rest = tensor->width - x, begun = x % columns;                                                     \
            if (full && !begun)                                                                                        \
                name##_rows(column, stride, full, run * (rest < columns ? rest : columns), top, row);                  \
            number best = full ? top[begun * run] : key(*(const type *)column);                                        \
            int64_t id = full ? row[begun * run] * run : 0;                                                            \
            for (int64_t lane = 1; full && lane < run; lane++) {                                                       \
                int64_t other = row[begun * run + lane] * run + lane;                                                  \
                number value = top[begun * run + lane];                                                                \
                if (value > best || (value == best && other < id)) best = value, id = other;                           \
            }                                                                                                          \
            for (int32_t c = (int32_t)(full * run); c < tensor->channels; c++) {                                       \
                number value = key(*(const type *)(column + channel_offset(tensor, c)));                               \
                if (value > best) best = value, id = c;                                                                \
            }                                                                                                          \
            ids[x] = (int32_t)id;                                                                                      \
        }                                                                                                              \
    }

#define SIGNED(value) (value)
#define UNSIGNED(value) ((int8_t)((value) ^ 0x80))
DEFINE_BEST(best_int8, int8_t, int8_t, SIGNED)
DEFINE_BEST(best_uint8, uint8_t, int8_t, UNSIGNED)
DEFINE_BEST(best_int16, loose_int16, int16_t, SIGNED)
DEFINE_BEST(best_half, loose_uint16, int16_t, half_key)
DEFINE_BEST(best_float, loose_uint32, int32_t, float_key)

/* The number of the largest score in each column of a tensor of one row, `width` numbers; of equal ones the first. */
EXPORTED int64_t rkdeploy_best_of_columns(const struct tensor *tensor, int32_t *ids) {
    if (tensor->height != 1 || tensor->channels < 1) return 1;
    switch (tensor->kind) {
    case INT8: best_int8(tensor, ids); break;
    case UINT8: best_uint8(tensor, ids); break;
    case INT16: best_int16(tensor, ids); break;
    case FLOAT16: best_half(tensor, ids); break;
    default: best_float(tensor, ids);
    }
    return 0;
}

/* Channels that lie evenly spaced: all of a plain tensor, or a block of a packed one. */
struct run {
    int32_t count; /* channels per run */
    int64_t step;  /* bytes between them */
};

static struct run run_of(const struct tensor *tensor) {
    struct run plain = {tensor->channels, tensor->block_stride}, packed = {tensor->lanes, tensor->lane_stride};
    return tensor->lanes == 1 ? plain : packed;
}

/* Of some columns of 8-bit values: the number of scores that are 0, 1, 2, ... 255 steps below the column's best, whose
 * number is in `ids`; 256 numbers per column. */
EXPORTED int64_t rkdeploy_steps_below(const struct tensor *tensor, const int32_t *columns, const int32_t *ids,
                                      int64_t count, int32_t *steps) {
    uint32_t found[4][256]; /* in turns: a counter that was just written is not read again at once */
    struct run run = run_of(tensor);
    for (int64_t i = 0; i < count; i++) {
        const char *column = tensor->values + columns[i] * tensor->x_stride;
        uint8_t best = *(const uint8_t *)(column + channel_offset(tensor, ids[i]));
        for (int turn = 0; turn < 4; turn++)
            for (int step = 0; step < 256; step++) found[turn][step] = 0;
        for (int32_t first = 0; first < tensor->channels; first += run.count) {
            const char *block = column + channel_offset(tensor, first);
            int32_t rest = tensor->channels - first, end = rest < run.count ? rest : run.count;
            for (int32_t c = 0; c < end; c++)
                found[c & 3][(uint8_t)(best - *(const uint8_t *)(block + c * run.step))]++;
        }
        for (int step = 0; step < 256; step++)
            steps[i * 256 + step] = (int32_t)(found[0][step] + found[1][step] + found[2][step] + found[3][step]);
    }
    return 0;
}

/* exp(x) for x <= 0, to 2e-7 of itself: 2^n times a polynomial (the coefficients are Cephes', expf.c). */
static inline float exp_below(float x) {
    float limited = x > -87.0f ? x : -87.0f;
    int32_t n = (int32_t)(limited * 1.44269504f - 0.5f);
    float r = limited - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    float p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
               + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    union { int32_t bits; float value; } power = {(n + 127) << 23};
    return x > -87.0f ? (p * r * r + r + 1.0f) * power.value : 0.0f;
}

/* `count` <= ROOM raw values, `step` bytes apart. */
static void read_run(const struct tensor *tensor, const char *at, int64_t step, int32_t count, float *raw) {
    switch (tensor->kind) {
    case INT16:
        for (int32_t i = 0; i < count; i++) raw[i] = *(const loose_int16 *)(at + i * step);
        break;
    case FLOAT16:
        for (int32_t i = 0; i < count; i++) raw[i] = of_half(*(const loose_uint16 *)(at + i * step));
        break;
    default:
        for (int32_t i = 0; i < count; i++) raw[i] = *(const loose_float *)(at + i * step);
    }
}

/* Of some columns of values of 16 bits or floats: the sum of exp(score - best) over all scores, in real units. */
EXPORTED int64_t rkdeploy_exp_sums(const struct tensor *tensor, const int32_t *columns, const int32_t *ids,
                                   int64_t count, double *sums) {
    float below[ROOM];
    struct run run = run_of(tensor);
    if (tensor->kind == INT8 || tensor->kind == UINT8) return 1;
    for (int64_t i = 0; i < count; i++) {
        const char *column = tensor->values + columns[i] * tensor->x_stride;
        float best;
        read_run(tensor, column + channel_offset(tensor, ids[i]), 0, 1, &best);
        double sum = 0.0;
        for (int32_t first = 0; first < tensor->channels; first += run.count) {
            const char *block = column + channel_offset(tensor, first);
            int32_t rest = tensor->channels - first, end = rest < run.count ? rest : run.count;
            for (int32_t c = 0; c < end; c += ROOM) {
                int32_t here = end - c < ROOM ? end - c : ROOM;
                read_run(tensor, block + c * run.step, run.step, here, below);
                for (int32_t k = 0; k < here; k++) below[k] = exp_below((below[k] - best) * tensor->scale);
                for (int32_t k = 0; k < here; k++) sum += below[k];
            }
        }
        sums[i] = sum;
    }
    return 0;
}
