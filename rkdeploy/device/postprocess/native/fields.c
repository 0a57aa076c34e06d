/* Channels of some rows of a head, as real numbers: rkdeploy/device/postprocess/row_fields.py, the reference, in C. */

#include "tensor.h"

/* A level of one kind of tensor.  A cell has `per_cell` rows of `fields` channels each, one after the other. */
struct field_level {
    struct tensor tensor;
    int64_t first_row, end_row;
    int32_t per_cell, fields;
};

struct field_table {
    const struct field_level *levels;
    int64_t level_count;
};

/* Up to LANES rows of one level, all their channels; `reals` is (fields, count) of the whole table, at the first row. */
static void read_fields(const struct field_level *level, const int64_t *rows, int64_t some, int64_t count, float *reals) {
    const struct tensor *tensor = &level->tensor;
    const char *cells[LANES];
    int32_t channels[LANES];
    for (int i = 0; i < LANES; i++) { /* where there are fewer, the last one again */
        int64_t row = rows[i < some ? i : some - 1] - level->first_row;
        cells[i] = cell_at(tensor, row / level->per_cell);
        channels[i] = (int32_t)(row % level->per_cell) * level->fields;
    }
    for (int32_t field = 0; field < level->fields; field++, reals += count) {
        if (level->per_cell > 1) {
            for (int64_t i = 0; i < some; i++)
                reals[i] = read_real(tensor, cells[i] + channel_offset(tensor, channels[i] + field));
            continue;
        }
        float raw[LANES];
        read_lanes(tensor->kind, cells, channel_offset(tensor, field), raw);
        for (int64_t i = 0; i < some; i++) reals[i] = (raw[i] - tensor->zero_point) * tensor->scale;
    }
}

/* Dequantized channels of `count` ascending rows to `reals` (fields, count).  Returns 0, or -1 when there is a row that
 * the levels do not have. */
EXPORTED int64_t rkdeploy_fields(const struct field_table *table, const int64_t *rows, int64_t count, float *reals) {
    int64_t at = 0;
    for (int64_t number = 0; number < table->level_count; number++) {
        const struct field_level *level = &table->levels[number];
        while (at < count && rows[at] >= level->first_row && rows[at] < level->end_row) {
            int64_t some = 1;
            while (some < LANES && at + some < count && rows[at + some] >= level->first_row
                   && rows[at + some] < level->end_row)
                some++;
            read_fields(level, rows + at, some, count, reals + at);
            at += some;
        }
    }
    return at == count ? 0 : -1;
}
