/* Greedy class-aware non-maximum suppression: rkdeploy/device/postprocess/nms.py, which is the reference, in C.
 *
 * Boxes of different classes are so far apart by class * 7680 that none overlaps another, unless coordinates are larger
 * than any image's.  So a box is compared with kept ones of its own class only, which are found in lists by class. */

#include "tensor.h"

enum { LISTS = 256 };
static const float CLASS_OFFSET_PX = 7680.0f, WIDEST_PX = 7000.0f;
static const int32_t LARGEST_CLASS = 32767; /* class * 7680 is rounded to 16 px at most */

struct box {
    float x1, y1, x2, y2, area;
    int32_t next; /* kept one before it in its list, or -1 */
};

static inline float least(float a, float b) {
    return a < b ? a : b;
}

static inline float greater(float a, float b) {
    return a > b ? a : b;
}

/* Whether classes can be told apart by place.  NaN can be let pass: it overlaps nothing. */
static int classes_apart(const float *xyxy, const int32_t *class_ids, int64_t count) {
    float low = 0.0f, high = 0.0f;
    int32_t odd = 0;
    for (int64_t i = 0; i < count; i++) {
        low = least(xyxy[i * 4], low);
        high = greater(xyxy[i * 4 + 2], high);
        odd |= class_ids[i] < 0 || class_ids[i] > LARGEST_CLASS;
    }
    return !odd && high - low < WIDEST_PX;
}

static int suppresses(const struct box *kept, const struct box *box, double iou) {
    float width = least(kept->x2, box->x2) - greater(kept->x1, box->x1);
    float height = least(kept->y2, box->y2) - greater(kept->y1, box->y1);
    if (!(width > 0.0f && height > 0.0f)) return 0;
    float overlap = width * height;
    return (double)(overlap / (kept->area + box->area - overlap)) > iou;
}

/* The candidates that stay, best score first.
 *
 * xyxy (total, 4), class_ids (total,); order (count,) candidates, best first; room for `count` boxes; kept (count,).
 * Returns how many of `kept` are written, at most max_det; or -1 when `order` names a candidate that is not there. */
EXPORTED int64_t rkdeploy_nms(const float *xyxy, const int32_t *class_ids, int64_t total, const int64_t *order, int64_t count,
                     double iou, int64_t max_det, struct box *room, int64_t *kept) {
    int32_t newest[LISTS];
    int32_t mask = classes_apart(xyxy, class_ids, total) ? LISTS - 1 : 0;
    int64_t found = 0;
    for (int i = 0; i < LISTS; i++) newest[i] = -1;
    for (int64_t rank = 0; rank < count && found < max_det; rank++) {
        int64_t candidate = order[rank];
        if (candidate < 0 || candidate >= total) return -1;
        const float *corners = xyxy + candidate * 4;
        float offset = (float)class_ids[candidate] * CLASS_OFFSET_PX;
        int32_t *list = &newest[class_ids[candidate] & mask];
        struct box box = {corners[0] + offset, corners[1] + offset, corners[2] + offset, corners[3] + offset, 0, *list};
        box.area = (box.x2 - box.x1) * (box.y2 - box.y1);
        int32_t other = *list;
        while (other >= 0 && !suppresses(&room[other], &box, iou)) other = room[other].next;
        if (other >= 0) continue;
        room[found] = box;
        *list = (int32_t)found;
        kept[found++] = candidate;
    }
    return found;
}
