/* Rows of an anchor head that may pass: rkdeploy/device/postprocess/anchor_decode.py, which is the reference, in C. */

#include "tensor.h"

enum { PARTS = 3, OBJECTNESS = 4, FIELDS = 6 }; /* fields: x, y, w, h, objectness, best class */

struct anchor_part {
    struct tensor tensor;
    int32_t first, end; /* of the fields x, y, w, h, objectness, class 0, ... that the tensor holds of each anchor */
};

struct anchor_level {
    struct anchor_part parts[PARTS]; /* one to three, in order */
    int64_t part_count, anchors, first_row;
    struct limit limit;
};

/* The caller's memory.  `found` rows are written, if there is `room` for them; `fields` is (FIELDS, found) then. */
struct anchor_search {
    const struct anchor_level *levels;
    int64_t level_count, class_count, room, found;
    int64_t *rows, *class_ids;
    float *fields;
};

static int32_t channel_of(const struct anchor_part *part, int64_t anchor, int32_t field) {
    return (int32_t)anchor * (part->end - part->first) + field - part->first;
}

/* Rows of one anchor of a level whose objectness is at or above the limit, to `rows` from place `found` on. */
static int64_t find_rows(const struct anchor_level *level, int64_t anchor, int64_t *rows, int64_t room, int64_t found) {
    int32_t places[PIECE + 1];
    const struct anchor_part *part = level->parts;
    while (part->end <= OBJECTNESS) part++;
    const struct tensor *tensor = &part->tensor;
    int64_t cells = (int64_t)tensor->height * tensor->width, first_row = level->first_row + anchor * cells;
    const char *plane = tensor->values + channel_offset(tensor, channel_of(part, anchor, OBJECTNESS));
    int64_t length = tensor->width, lines = tensor->height;
    if (tensor->y_stride == length * tensor->x_stride) length *= lines, lines = 1;
    for (int64_t line = 0; line < lines; line++) {
        for (int64_t start = 0; start < length; start += PIECE) {
            int64_t count = length - start < PIECE ? length - start : PIECE;
            const char *first = plane + line * tensor->y_stride + start * tensor->x_stride;
            int64_t some = scan(tensor, level->limit, first, tensor->x_stride, count, places);
            for (int64_t i = 0; i < some; i++, found++)
                if (found < room) rows[found] = first_row + line * length + start + places[i];
        }
    }
    return found;
}

/* The fields of up to LANES rows of one anchor of a level, dequantized, and their best classes. */
static void read_rows(const struct anchor_level *level, int64_t anchor, const int64_t *rows, int64_t count,
                      int32_t class_count, float fields[FIELDS][LANES], int32_t class_ids[LANES]) {
    for (int64_t number = 0; number < level->part_count; number++) {
        const struct anchor_part *part = &level->parts[number];
        const struct tensor *tensor = &part->tensor;
        const char *cells[LANES];
        int64_t first_row = level->first_row + anchor * tensor->height * tensor->width;
        for (int i = 0; i < LANES; i++) /* where there are fewer, the last one again */
            cells[i] = cell_at(tensor, rows[i < count ? i : count - 1] - first_row);
        int32_t end = part->end < OBJECTNESS + 1 + class_count ? part->end : OBJECTNESS + 1 + class_count;
        for (int32_t field = part->first; field < end; field++) {
            float raw[LANES], *best = fields[OBJECTNESS + 1];
            read_lanes(tensor->kind, cells, channel_offset(tensor, channel_of(part, anchor, field)), raw);
            if (field <= OBJECTNESS + 1) {
                for (int i = 0; i < LANES; i++) fields[field][i] = raw[i];
                for (int i = 0; i < LANES; i++) class_ids[i] = 0;
                continue;
            }
            for (int i = 0; i < LANES; i++) { /* as numpy's argmax: the first of equal ones, NaN before all numbers */
                int better = (raw[i] > best[i]) | ((raw[i] != raw[i]) & (best[i] == best[i]));
                class_ids[i] = better ? field - OBJECTNESS - 1 : class_ids[i];
                best[i] = better ? raw[i] : best[i];
            }
        }
        for (int32_t field = part->first; field < end && field < FIELDS; field++)
            for (int i = 0; i < LANES; i++)
                fields[field][i] = (fields[field][i] - tensor->zero_point) * tensor->scale;
    }
}

/* Rows whose objectness is at or above the limit of their level, in the head's order, their real (not activated)
 * fields, and their best class.  Returns 0, or the room that is needed where it is too small. */
EXPORTED int64_t rkdeploy_search_anchors(struct anchor_search *search) {
    int64_t found = 0, at = 0;
    for (int64_t number = 0; number < search->level_count; number++)
        for (int64_t anchor = 0; search->levels[number].limit.rule != NONE && anchor < search->levels[number].anchors;
             anchor++)
            found = find_rows(&search->levels[number], anchor, search->rows, search->room, found);
    search->found = found;
    if (found > search->room) return found;
    for (int64_t number = 0; number < search->level_count; number++) {
        const struct anchor_level *level = &search->levels[number];
        int64_t cells = (int64_t)level->parts[0].tensor.height * level->parts[0].tensor.width;
        for (int64_t anchor = 0; anchor < level->anchors; anchor++) {
            int64_t end_row = level->first_row + (anchor + 1) * cells;
            while (at < found && search->rows[at] < end_row) {
                float fields[FIELDS][LANES];
                int32_t class_ids[LANES];
                int64_t some = 1;
                while (some < LANES && at + some < found && search->rows[at + some] < end_row) some++;
                read_rows(level, anchor, search->rows + at, some, (int32_t)search->class_count, fields, class_ids);
                for (int field = 0; field < FIELDS; field++)
                    for (int64_t i = 0; i < some; i++) search->fields[field * found + at + i] = fields[field][i];
                for (int64_t i = 0; i < some; i++) search->class_ids[at + i] = class_ids[i];
                at += some;
            }
        }
    }
    return 0;
}
