/* The values of a row that pass a limit.  Of hundreds of thousands a few hundred do: the time goes into the loop that
 * only asks whether any of the next 128 does, which the compiler makes vectors of. */

#include "tensor.h"

enum { STEP = 128, MARKS = 64 };

EXPORTED const char rkdeploy_sources[] = RKDEPLOY_SOURCES; /* compile.py: which sources this library was made of */

#define DEFINE_SCAN(name, type, number, mask, opposite)                                                                \
    static int64_t name(const type *values, int64_t count, number bound, int32_t *places) {                            \
        int64_t found = 0, at = 0;                                                                                     \
        for (; at + STEP <= count; at += STEP) {                                                                       \
            mask none = (mask)-1;                                                                                      \
            for (int i = 0; i < STEP; i++) none &= values[at + i] opposite bound ? -1 : 0;                             \
            if (none) continue;                                                                                        \
            for (int64_t start = at; start < at + STEP; start += MARKS) {                                              \
                union { uint8_t marks[MARKS]; uint64_t words[MARKS / 8]; } of;                                         \
                for (int i = 0; i < MARKS; i++) of.marks[i] = !(values[start + i] opposite bound);                     \
                for (int word = 0; word < MARKS / 8; word++) {                                                         \
                    if (!of.words[word]) continue;                                                                     \
                    for (int i = word * 8; i < word * 8 + 8; i++) {                                                    \
                        places[found] = (int32_t)(start + i);                                                          \
                        found += of.marks[i];                                                                          \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        for (; at < count; at++) {                                                                                     \
            places[found] = (int32_t)at;                                                                               \
            found += !(values[at] opposite bound);                                                                     \
        }                                                                                                              \
        return found;                                                                                                  \
    }

DEFINE_SCAN(scan_int8, int8_t, int8_t, int8_t, <)
DEFINE_SCAN(scan_uint8, uint8_t, uint8_t, int8_t, <)
DEFINE_SCAN(scan_int16, loose_int16, int16_t, int16_t, <)
DEFINE_SCAN(scan_int32, loose_int32, int32_t, int32_t, <)
DEFINE_SCAN(scan_bits16, loose_uint16, uint16_t, int16_t, >)
DEFINE_SCAN(scan_bits32, loose_uint32, uint32_t, int32_t, >)

/* Values `stride` bytes apart, side by side. */
static const char *gathered(int64_t size, const char *first, int64_t stride, int64_t count, char *room) {
    if (size == 1) {
        for (int64_t i = 0; i < count; i++) room[i] = first[i * stride];
    } else if (size == 2) {
        for (int64_t i = 0; i < count; i++)
            ((loose_int16 *)room)[i] = *(const loose_int16 *)(first + i * stride);
    } else {
        for (int64_t i = 0; i < count; i++)
            ((loose_int32 *)room)[i] = *(const loose_int32 *)(first + i * stride);
    }
    return room;
}

/* Which of the `count` <= PIECE values from `first` on, `stride` bytes apart, pass; writes their numbers, ascending, to
 * `places` (room for PIECE + 1) and returns how many there are. */
int64_t scan(const struct tensor *tensor, struct limit limit, const char *first, int64_t stride, int64_t count,
             int32_t *places) {
    char room[PIECE * 4];
    int64_t size = size_of(tensor->kind);
    const void *values = stride == size ? first : gathered(size, first, stride, count, room);
    if (tensor->kind == INT8) return scan_int8(values, count, (int8_t)limit.bound, places);
    if (tensor->kind == UINT8) return scan_uint8(values, count, (uint8_t)limit.bound, places);
    if (limit.rule == AT_LEAST)
        return size == 2 ? scan_int16(values, count, (int16_t)limit.bound, places)
                         : scan_int32(values, count, limit.bound, places);
    return size == 2 ? scan_bits16(values, count, (uint16_t)limit.bound, places)
                     : scan_bits32(values, count, (uint32_t)limit.bound, places);
}
