/* Search of an anchor-free head's scores: rkdeploy/device/postprocess/score_search.py, which is the reference, in C. */

#include "tensor.h"

struct score_level {
    struct tensor tensor;
    struct limit limit;
    int64_t first_row;
};

struct hit {
    int32_t cell, channel;
    float real;
};

/* The caller's memory.  `found` of `rows`, `class_ids` and `reals` are written, if there is `room` for them; `hits` and
 * `sorted` have the same room, `counts` one place more than the largest level has cells. */
struct score_search {
    const struct score_level *levels;
    int64_t level_count, every_class, room, found;
    struct hit *hits, *sorted;
    int32_t *counts;
    int64_t *rows, *class_ids;
    float *reals;
};

struct collector {
    const struct tensor *tensor;
    struct hit *hits;
    int64_t room, count;
};

/* One run of memory.  Its values are those of `lanes` channels from `channel` on of cell after cell, from `cell` on. */
static void collect(struct collector *to, struct limit limit, const char *first, int64_t stride, int64_t length,
                    int32_t cell, int32_t channel, int32_t lanes) {
    int32_t places[PIECE + 1];
    for (int64_t start = 0; start < length; start += PIECE) {
        int64_t count = length - start < PIECE ? length - start : PIECE;
        const char *piece = first + start * stride;
        int64_t found = scan(to->tensor, limit, piece, stride, count, places);
        for (int64_t i = 0; i < found; i++) {
            int64_t place = start + places[i];
            int32_t lane = (int32_t)(place % lanes);
            if (channel + lane >= to->tensor->channels) continue; /* padding, which may hold anything */
            if (to->count < to->room)
                to->hits[to->count] = (struct hit){
                    cell + (int32_t)(place / lanes), channel + lane, read_real(to->tensor, piece + places[i] * stride)};
            to->count++;
        }
    }
}

/* Channels that lie side by side in each cell, and cell beside cell: they are one run of memory.  Else each is its own. */
static int32_t lanes_of_run(const struct tensor *tensor) {
    int64_t size = size_of(tensor->kind);
    return tensor->lane_stride == size && tensor->x_stride == tensor->lanes * size ? tensor->lanes : 1;
}

/* All hits of a level, run by run: of one cell those of lower channels first.  Returns how many there are. */
static int64_t hits_of(const struct score_level *level, struct hit *hits, int64_t room) {
    const struct tensor *tensor = &level->tensor;
    struct collector to = {tensor, hits, room, 0};
    int32_t lanes = lanes_of_run(tensor);
    int64_t stride = lanes > 1 ? size_of(tensor->kind) : tensor->x_stride;
    int64_t length = (int64_t)tensor->width * lanes, rows = tensor->height;
    if (tensor->y_stride == length * stride) length *= rows, rows = 1;
    for (int32_t channel = 0; channel < tensor->channels; channel += lanes)
        for (int64_t y = 0; y < rows; y++)
            collect(&to, level->limit, tensor->values + channel_offset(tensor, channel) + y * tensor->y_stride, stride,
                    length, (int32_t)y * tensor->width, channel, lanes);
    return to.count;
}

/* By cell, and in each cell in the order in which they were. */
static void sort_by_cell(const struct hit *hits, int64_t count, int32_t cells, int32_t *counts, struct hit *sorted) {
    for (int32_t cell = 0; cell <= cells; cell++) counts[cell] = 0;
    for (int64_t i = 0; i < count; i++) counts[hits[i].cell + 1]++;
    for (int32_t cell = 1; cell <= cells; cell++) counts[cell] += counts[cell - 1];
    for (int64_t i = 0; i < count; i++) sorted[counts[hits[i].cell]++] = hits[i];
}

/* Rows with a score at or above the limit of their level, ascending; of each its best class (of several equal ones the
 * first) or, for `every_class`, all of them.  NaN counts only where there is no number.
 * Returns 0, or the room that is needed where it is too small. */
EXPORTED int64_t rkdeploy_search_scores(struct score_search *search) {
    int64_t needed = 0;
    search->found = 0;
    for (int64_t number = 0; number < search->level_count; number++) {
        const struct score_level *level = &search->levels[number];
        if (level->limit.rule == NONE) continue;
        int64_t count = hits_of(level, search->hits, search->room);
        needed += count;
        if (needed > search->room) continue;
        const struct hit *hits = search->hits;
        if (lanes_of_run(&level->tensor) < level->tensor.channels) {
            sort_by_cell(hits, count, level->tensor.height * level->tensor.width, search->counts, search->sorted);
            hits = search->sorted;
        }
        for (int64_t i = 0; i < count;) {
            struct hit best = hits[i++];
            while (!search->every_class && i < count && hits[i].cell == best.cell) {
                if (hits[i].real > best.real || best.real != best.real) best = hits[i];
                i++;
            }
            search->rows[search->found] = level->first_row + best.cell;
            search->class_ids[search->found] = best.channel;
            search->reals[search->found++] = best.real;
        }
    }
    return needed > search->room ? needed : 0;
}
