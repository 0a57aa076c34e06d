/* Stand-in for Rockchip's librknnrt.so with the C ABI of rknn_api.h 2.3.2, for boards that are not at hand.

   Self-contained: needs no Rockchip header.  It computes nothing; it answers what it is told to, and logs every call.

     cc -O1 -Wall -shared -fPIC -Wl,-soname,librknnrt.so -o librknnrt.so librknnrt_shim.c -lm -lpthread
     -DSHIM_OLD leaves out what early runtimes lack: zero-copy memory, dup_context, core masks, dynamic shapes.

   A "model" is a text blob, given to rknn_init or, for any other bytes, in the file $RKNN_SHIM_SPEC:

     #RKNNSHIM
     input  name=images dims=1,640,640,3 fmt=nhwc type=int8 zp=-128 scale=0.00392157
     output name=out0 dims=1,84,80,80 fmt=nchw native=nc1hwc2 type=int8 zp=-14 scale=0.05 fill=ramp
     weight=1234 internal=5678 run_us=1500      (optional, one line)
     custom TEXT                                (optional, one line: the custom string, "shim" without it)
     dyn 1,3,224,224                            (optional shapes of input 0: a dynamic model)

   fill: ramp | const:RAW | echo | sum | file:PATH (raw values) | crc:PREFIX (raw values in PREFIX-<crc32 of the input,
   8 hex digits>.bin: a run with an input that was not recorded fails).  native (outputs): nchw | nhwc | nc1hwc2.
   pad_w=N, pad_h=N (outputs): unused columns and rows of the native layout, which only its strides tell of.
   pad_w=N (input): unused pixels behind each row of the I/O memory.
   rebind=0 (with weight): memory that is registered for a tensor that has some is ignored.

   Environment:
     RKNN_SHIM_LOG=FILE|stderr          one line a call
     RKNN_SHIM_FAIL=rknn_run:-2@3,...   the third call answers -2; without @ every call does
     RKNN_SHIM_API_VERSION, RKNN_SHIM_DRV_VERSION

   Return codes follow a real librknnrt 1.5.2 (run under qemu-arm with a faked DRM driver) where it reports errors: bad
   or missing model -6 with a non-zero context, context 0 -7, query size, command or index -5, dynamic queries on a
   static model -6, bad core mask -1, I/O memory too small -1; PERF_RUN before run is 0 and garbage, PERF_DETAIL without
   the flag 0 and empty.  Stricter than the real one on purpose, which answers 0 with only a log line or crashes:
   outputs_get before run (-1), preallocated buffer too small, wrong count or index (-5), NULL input buffer (-8), destroy
   twice (-7). */
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef uint64_t rknn_context;
enum {
  SUCC = 0,
  E_FAIL = -1,
  E_TIMEOUT = -2,
  E_DEVICE = -3,
  E_MALLOC = -4,
  E_PARAM = -5,
  E_MODEL = -6,
  E_CTX = -7,
  E_IN = -8,
  E_OUT = -9
};
enum { F32, F16, I8, U8, I16, U16, I32, U32, I64, BOOL_ };
enum { NCHW, NHWC, NC1HWC2, UNDEF };
typedef struct {
  uint32_t n_input, n_output;
} io_num;

typedef struct {
  uint32_t index, n_dims, dims[16];
  char name[256];
  uint32_t n_elems, size;
  int32_t fmt, type, qnt_type;
  int8_t fl;
  int32_t zp;
  float scale;
  uint32_t w_stride, size_with_stride;
  uint8_t pass_through;
  uint32_t h_stride;
} attr_t;

typedef struct {
  uint32_t index, shape_number;
  int32_t fmt;
  char name[256];
  uint32_t dyn_range[512][16];
  uint32_t n_dims;
} range_t;

typedef struct {
  char *perf_data;
  uint64_t data_len;
} perf_detail_t;

typedef struct {
  char api[256], drv[256];
} sdk_t;

typedef struct {
  uint32_t weight, internal;
  uint64_t dma;
  uint32_t sram, sram_free, rsv[10];
} mem_size_t;

typedef struct {
  void *virt;
  uint64_t phys;
  int32_t fd, offset;
  uint32_t size, flags;
  void *priv;
} mem_t;

typedef struct {
  uint32_t index;
  void *buf;
  uint32_t size;
  uint8_t pass_through;
  int32_t type, fmt;
} input_t;

typedef struct {
  uint8_t want_float, is_prealloc;
  uint32_t index;
  void *buf;
  uint32_t size;
} output_t;

typedef struct {
  uint64_t frame_id;
  int32_t non_block, timeout_ms, fence_fd;
} run_ext_t;

_Static_assert(sizeof(attr_t) == 376 && sizeof(input_t) == 32 && sizeof(output_t) == 24 && sizeof(mem_t) == 40 &&
                   sizeof(mem_size_t) == 64 && sizeof(range_t) == 33040 && sizeof(run_ext_t) == 24,
               "ABI");
#define MAXT 16
typedef struct {
  attr_t a;
  char fill[300];
  int native;
  uint32_t pad_w, pad_h;
  uint8_t *raw;
  size_t raw_n;
  mem_t *io;
  attr_t io_attr;
} tensor_t;

typedef struct ctx {
  rknn_context id;
  uint32_t flag, n_in, n_out, ndyn;
  tensor_t in[MAXT], out[MAXT];
  uint32_t dyn[16][16], dynd[16];
  int cur_dyn, core, ran, got;
  uint64_t frame;
  int64_t us;
  uint32_t weight, internal, run_us;
  char custom[1024];
  rknn_context loader; /* whose weights a duplicate uses */
  int running, no_rebind;
  char *perf;
  struct ctx *next;
} ctx_t;

#define VERSION "2.3.2 (shim@2025-01-01T00:00:00)"
const char *rknn_shim_banner = "librknnrt version: " VERSION; /* where the real one has it too, for `strings` */
static ctx_t *g;
static uint64_t next_id = 0x5000;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static void lg(const char *f, ...) {
  const char *p = getenv("RKNN_SHIM_LOG");
  if (!p) {
    return;
  }
  FILE *o = strcmp(p, "stderr") ? fopen(p, "a") : stderr;
  if (!o) {
    return;
  }
  va_list v;
  va_start(v, f);
  vfprintf(o, f, v);
  va_end(v);
  fputc('\n', o);
  if (o != stderr) {
    fclose(o);
  }
}

static int inject(const char *fn) { /* RKNN_SHIM_FAIL */
  static struct {
    char n[40];
    int c;
  } cnt[40];
  const char *s = getenv("RKNN_SHIM_FAIL");
  int i, k = 0;
  pthread_mutex_lock(&mu);
  for (i = 0; i < 40 && cnt[i].n[0] && strcmp(cnt[i].n, fn); i++)
    ;
  if (i < 40) {
    if (!cnt[i].n[0]) {
      snprintf(cnt[i].n, 40, "%s", fn);
    }
    k = ++cnt[i].c;
  }
  pthread_mutex_unlock(&mu);
  size_t L = strlen(fn);
  for (; s && *s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
    if (!strncmp(s, fn, L) && s[L] == ':') {
      char *e;
      long r = strtol(s + L + 1, &e, 10);
      if (*e != '@' || atoi(e + 1) == k) {
        lg("  INJECT %s -> %ld", fn, r);
        return (int)r;
      }
    }
  }
  return 0;
}

#define FAILPT()                                                                                                       \
  do {                                                                                                                 \
    int r_ = inject(__func__);                                                                                         \
    if (r_)                                                                                                            \
      return r_;                                                                                                       \
  } while (0)
static ctx_t *find(rknn_context id) {
  pthread_mutex_lock(&mu);
  ctx_t *c = g;
  while (c && c->id != id) {
    c = c->next;
  }
  pthread_mutex_unlock(&mu);
  return c;
}

#define GET(c)                                                                                                         \
  ctx_t *c = find(id);                                                                                                 \
  if (!c) {                                                                                                            \
    lg("%s(ctx=%llx) -> -7", __func__, (unsigned long long)id);                                                        \
    return E_CTX;                                                                                                      \
  }
static size_t tsz(int t) {
  static const size_t s[] = {4, 2, 1, 1, 2, 2, 4, 4, 8, 1};
  return t >= 0 && t < 10 ? s[t] : 1;
}

static int tparse(const char *s) {
  static const char *n[] = {"float32", "float16", "int8",   "uint8", "int16",
                            "uint16",  "int32",   "uint32", "int64", "bool"};
  for (int i = 0; i < 10; i++) {
    if (!strcmp(s, n[i])) {
      return i;
    }
  }
  return I8;
}

static int layout(const char *s) {
  return !strcmp(s, "nchw") ? NCHW : !strcmp(s, "nhwc") ? NHWC : !strcmp(s, "nc1hwc2") ? NC1HWC2 : UNDEF;
}

static uint32_t dims(const char *s, uint32_t *d) {
  uint32_t n = 0;
  while (*s && n < 16) {
    d[n++] = strtoul(s, (char **)&s, 10);
    if (*s == ',') {
      s++;
    } else {
      break;
    }
  }
  return n;
}

static void finish(attr_t *a) {
  uint32_t n = 1;
  for (uint32_t i = 0; i < a->n_dims; i++) {
    n *= a->dims[i];
  }
  a->n_elems = n;
  a->size = n * tsz(a->type);
  a->size_with_stride = a->size;
  if (a->n_dims == 4 && a->fmt == NHWC) {
    a->w_stride = a->dims[2];
  }
}

static float h2f(uint16_t h) {
  uint32_t s = (h >> 15) & 1, e = (h >> 10) & 31, m = h & 1023;
  float v = e == 0 ? ldexpf(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexpf(m + 1024, (int)e - 25);
  return s ? -v : v;
}

static double raw_at(const uint8_t *p, int t, size_t i) {
  switch (t) {
  case F32:
    return ((float *)p)[i];
  case F16:
    return h2f(((uint16_t *)p)[i]);
  case I8:
    return ((int8_t *)p)[i];
  case I16:
    return ((int16_t *)p)[i];
  case U16:
    return ((uint16_t *)p)[i];
  case I32:
    return ((int32_t *)p)[i];
  case U32:
    return ((uint32_t *)p)[i];
  case I64:
    return ((int64_t *)p)[i];
  default:
    return p[i];
  }
}

static void raw_put(uint8_t *p, int t, size_t i, double v) {
  switch (t) {
  case F32:
    ((float *)p)[i] = v;
    break;
  case I16:
    ((int16_t *)p)[i] = v;
    break;
  case U16:
    ((uint16_t *)p)[i] = v;
    break;
  case I32:
    ((int32_t *)p)[i] = v;
    break;
  case U32:
    ((uint32_t *)p)[i] = v;
    break;
  case I64:
    ((int64_t *)p)[i] = v;
    break;
  case U8:
  case BOOL_:
    p[i] = (uint8_t)v;
    break;
  case F16: {
    float f = v;
    uint32_t u;
    memcpy(&u, &f, 4);
    int e = (int)((u >> 23) & 255) - 112;
    ((uint16_t *)p)[i] = (u >> 16 & 0x8000) | (e <= 0 ? 0 : e > 30 ? 0x7c00 : e << 10 | (u >> 13 & 1023));
    break;
  }
  default:
    ((int8_t *)p)[i] = v < -128 ? -128 : v > 127 ? 127 : v;
  }
}

static int parse(ctx_t *c, const char *m, size_t n) {
  char *s = malloc(n + 1), *sv = NULL;
  memcpy(s, m, n);
  s[n] = 0;
  for (char *l = strtok_r(s, "\n", &sv); l; l = strtok_r(NULL, "\n", &sv)) {
    if (*l == '#') {
      continue;
    }
    if (!strncmp(l, "custom ", 7)) {
      snprintf(c->custom, sizeof c->custom, "%s", l + 7);
      continue;
    }
    if (!strncmp(l, "dyn ", 4)) {
      if (c->ndyn < 16) {
        c->dynd[c->ndyn] = dims(l + 4, c->dyn[c->ndyn]);
        c->ndyn++;
      }
      continue;
    }
    int in = !strncmp(l, "input", 5), out = !strncmp(l, "output", 6);
    tensor_t *t = NULL;
    if (in && c->n_in < MAXT) {
      t = &c->in[c->n_in++];
    } else if (out && c->n_out < MAXT) {
      t = &c->out[c->n_out++];
    }
    if (t) {
      t->a.index = (in ? c->n_in : c->n_out) - 1;
      t->a.type = I8;
      t->a.qnt_type = 2;
      t->a.scale = 1;
      t->a.fmt = in ? NHWC : NCHW;
      t->native = NC1HWC2;
      strcpy(t->fill, "ramp");
      snprintf(t->a.name, 256, "%s%u", in ? "in" : "out", t->a.index);
    }
    char *sv2 = NULL;
    for (char *k = strtok_r(l, " \t", &sv2); k; k = strtok_r(NULL, " \t", &sv2)) {
      char *v = strchr(k, '=');
      if (!v) {
        continue;
      }
      *v++ = 0;
      if (t) {
        if (!strcmp(k, "name")) {
          snprintf(t->a.name, 256, "%s", v);
        } else if (!strcmp(k, "dims")) {
          t->a.n_dims = dims(v, t->a.dims);
        } else if (!strcmp(k, "type")) {
          t->a.type = tparse(v);
          if (t->a.type != I8 && t->a.type != U8 && t->a.type != I16) {
            t->a.qnt_type = 0;
          }
        } else if (!strcmp(k, "fmt")) {
          t->a.fmt = layout(v);
        } else if (!strcmp(k, "native")) {
          t->native = layout(v);
        } else if (!strcmp(k, "pad_w")) {
          t->pad_w = atoi(v);
        } else if (!strcmp(k, "pad_h")) {
          t->pad_h = atoi(v);
        } else if (!strcmp(k, "zp")) {
          t->a.zp = atoi(v);
        } else if (!strcmp(k, "scale")) {
          t->a.scale = atof(v);
        } else if (!strcmp(k, "fill")) {
          snprintf(t->fill, 300, "%s", v);
        }
      } else {
        if (!strcmp(k, "weight")) {
          c->weight = atoi(v);
        } else if (!strcmp(k, "internal")) {
          c->internal = atoi(v);
        } else if (!strcmp(k, "run_us")) {
          c->run_us = atoi(v);
        } else if (!strcmp(k, "rebind")) {
          c->no_rebind = !atoi(v);
        }
      }
    }
    if (t) {
      finish(&t->a);
    }
  }
  free(s);
  return c->n_in && c->n_out ? 0 : E_MODEL;
}

int rknn_init(rknn_context *out, void *model, uint32_t size, uint32_t flag, void *ext) {
  char hx[3 * 144 + 1] = "";
  if (ext) {
    for (int i = 0; i < 40; i++) {
      sprintf(hx + 2 * i, "%02x", ((uint8_t *)ext)[i]);
    }
  }
  lg("rknn_init(model=%s, size=%u, flag=0x%x, extend=%s%s)", model ? (size ? "<mem>" : (char *)model) : "NULL", size,
     flag, ext ? "first40:" : "NULL", hx);
  if (out) {
    *out = 0xdead; /* the real one leaves rubbish there, too */
  }
  FAILPT();
  if (!out || !model) {
    return E_PARAM;
  }
  char *d = model, *own = NULL;
  size_t n = size;
  const char *spec = getenv("RKNN_SHIM_SPEC");
  char start[10] = "";
  FILE *f = size ? NULL : fopen(model, "rb"); /* size 0: model is a path */
  if (!size && !f) {
    return E_MODEL;
  }
  if (f) {
    size_t got = fread(start, 1, 9, f);
    start[got] = 0;
    rewind(f);
  } else {
    memcpy(start, d, n < 9 ? n : 9);
  }
  if (spec && strcmp(start, "#RKNNSHIM")) { /* any other bytes: what the environment says */
    if (f) {
      fclose(f);
    }
    f = fopen(spec, "rb");
  }
  if (f) {
    own = malloc(1 << 20);
    n = fread(own, 1, 1 << 20, f);
    fclose(f);
    d = own;
  }
  if (n < 9 || memcmp(d, "#RKNNSHIM", 9)) {
    free(own);
    lg("  not a shim model");
    fprintf(stderr, "E RKNN: [00:00:00.000] rknn_init, load model failed!\n");
    return E_MODEL;
  }
  ctx_t *c = calloc(1, sizeof *c);
  strcpy(c->custom, "shim");
  c->weight = 1000;
  c->internal = 2000;
  c->cur_dyn = -1;
  int r = parse(c, d, n);
  free(own);
  if (r) {
    free(c);
    return r;
  }
  c->flag = flag;
  pthread_mutex_lock(&mu);
  c->id = ++next_id;
  c->next = g;
  g = c;
  pthread_mutex_unlock(&mu);
  *out = c->id;
  lg("  -> ctx=%llx in=%u out=%u", (unsigned long long)c->id, c->n_in, c->n_out);
  return 0;
}

int rknn_destroy(rknn_context id) {
  GET(c);
  lg("rknn_destroy(ctx=%llx)", (unsigned long long)id);
  pthread_mutex_lock(&mu);
  int orphans = 0;
  for (ctx_t *d = g; d; d = d->next) {
    orphans += d->loader == id;
  }
  for (ctx_t **p = &g; *p; p = &(*p)->next) {
    if (*p == c) {
      *p = c->next;
      break;
    }
  }
  pthread_mutex_unlock(&mu);
  if (orphans) {
    lg("  ABUSE: destroyed before %d that use its weights", orphans);
  }
  for (int i = 0; i < MAXT; i++) {
    free(c->in[i].raw), free(c->out[i].raw);
  }
  free(c->perf);
  free(c);
  return 0;
}

#ifndef SHIM_OLD
int rknn_dup_context(rknn_context *a, rknn_context *b) {
  rknn_context id = *a;
  GET(c);
  lg("rknn_dup_context(ctx=%llx)", (unsigned long long)id);
  if (c->running) {
    lg("  ABUSE: duplicated while it runs");
  }
  FAILPT();
  ctx_t *d = malloc(sizeof *d);
  *d = *c;
  d->loader = c->loader ? c->loader : id;
  d->running = 0;
  for (int i = 0; i < MAXT; i++) {
    d->in[i].raw = d->out[i].raw = NULL, d->in[i].io = d->out[i].io = NULL;
  }
  d->perf = NULL;
  pthread_mutex_lock(&mu);
  d->id = ++next_id;
  d->next = g;
  g = d;
  pthread_mutex_unlock(&mu);
  *b = d->id;
  lg("  -> ctx=%llx", (unsigned long long)d->id);
  return 0;
}

#endif
/* Attributes of a tensor as the NPU holds it.  NC1HWC2: C2 is 16 bytes, C1 is padded to even (seen: C=8 gave C1=2).
   Inputs of up to four channels stay NHWC. */
static void native(const tensor_t *t, attr_t *d) {
  const attr_t *s = &t->a;
  *d = *s;
  if (s->n_dims != 4 || (s->fmt == NHWC && s->dims[3] <= 4)) {
    if (t->pad_w && s->n_dims == 4) {
      d->w_stride = s->dims[2] + t->pad_w;
      d->size_with_stride = d->size / s->dims[2] * d->w_stride;
    }
    return;
  }
  uint32_t C = s->fmt == NHWC ? s->dims[3] : s->dims[1], H = s->fmt == NHWC ? s->dims[1] : s->dims[2],
           W = s->fmt == NHWC ? s->dims[2] : s->dims[3], c2 = 16 / tsz(s->type);
  uint32_t nchw[] = {s->dims[0], C, H, W}, nhwc[] = {s->dims[0], H, W, C},
           packed[] = {s->dims[0], (C + 2 * c2 - 1) / (2 * c2) * 2, H, W, c2};
  d->fmt = t->native;
  d->n_dims = t->native == NC1HWC2 ? 5 : 4;
  memcpy(d->dims, t->native == NC1HWC2 ? packed : t->native == NHWC ? nhwc : nchw, 4 * d->n_dims);
  finish(d);
  if (t->pad_w || t->pad_h) {
    d->w_stride = W + t->pad_w;
    d->h_stride = H + t->pad_h;
    d->size_with_stride = d->size / (H * W) * d->w_stride * d->h_stride;
  }
}

/* Place of channel k, row y, column x in a tensor. */
static size_t place(const attr_t *a, uint32_t k, uint32_t y, uint32_t x) {
  int last = a->fmt == NHWC;
  uint32_t H = a->h_stride ? a->h_stride : a->dims[last ? 1 : 2], W = a->w_stride ? a->w_stride : a->dims[last ? 2 : 3];
  if (a->fmt == NC1HWC2) {
    uint32_t c2 = a->dims[4];
    return (((size_t)(k / c2) * H + y) * W + x) * c2 + k % c2;
  }
  if (last) {
    return ((size_t)y * W + x) * a->dims[3] + k;
  }
  return ((size_t)k * H + y) * W + x;
}

static const char *perf_text(ctx_t *c) { /* layout of the 2.x table (columns as in toolkit 2.x and rknn-inspect's
                                            parser); numbers are made up except the NPU time */
  char *s = c->perf ? c->perf : (c->perf = malloc(8192)), *e = s + 8192, *p = s;
  attr_t *i = &c->in[0].a, *o = &c->out[0].a;
  char is[64], os[64], L[260];
  memset(L, '-', 250);
  L[250] = 0;
  long long us = c->us;
  snprintf(is, 64, "(%u,%u,%u,%u)", i->dims[0], i->dims[3], i->dims[1], i->dims[2]);
  snprintf(os, 64,
           o->n_dims == 4   ? "(%u,%u,%u,%u)"
           : o->n_dims == 3 ? "(%u,%u,%u)"
                            : "(%u,%u)",
           o->dims[0], o->dims[1], o->dims[2], o->dims[3]);
#define ROW "%-5u%-19s%-9s%-7s%-41s%-23s%-25s%-13lld%-21s%-21s%-13s%s\n"
  p += snprintf(p, e - p,
                "%s\n%110sNetwork Layer Information Table\n%s\nID   OpType             DataType Target InputShape      "
                "                         OutputShape            Cycles(DDR/NPU/Total)    Time(us)     MacUsage(%%)    "
                "      WorkLoad(0/1/2)      RW(KB)       FullName\n%s\n",
                L, "", L, L);
  p += snprintf(p, e - p, ROW, 1u, "InputOperator", "INT8", "CPU", "\\", is, "0/0/0", 5LL, "", "0.0%/0.0%/0.0%", "0",
                "InputOperator:images");
  p += snprintf(p, e - p, ROW, 2u, "ConvRelu", "INT8", "NPU", is, os, "100/200/200", us, "10.0/0.0/0.0",
                "100.0%/0.0%/0.0%", "4400", "Conv:/model.0/conv/Conv");
  p += snprintf(p, e - p, ROW, 3u, "OutputOperator", "INT8", "CPU", os, "\\", "0/0/0", 7LL, "", "0.0%/0.0%/0.0%", "689",
                "OutputOperator:output0");
  p += snprintf(
      p, e - p,
      "%s\nTotal Operator Elapsed Per Frame Time(us): %lld\nTotal Memory Read/Write Per Frame Size(KB): 5089.00\n%s\n",
      L, us + 12, L);
  p += snprintf(p, e - p,
                "%.110s\n%30sOperator Time Consuming Ranking Table\n%.110s\nOpType             CallNumber   "
                "CPUTime(us)  GPUTime(us)  NPUTime(us)  TotalTime(us)  TimeRatio(%%)\n%.110s\n",
                L, "", L, L);
  p += snprintf(p, e - p, "%-19s%-13u%-13u%-13u%-13lld%-15lld%.2f%%\n", "ConvRelu", 1u, 0u, 0u, us, us,
                us * 100.0 / (us + 12));
  p += snprintf(p, e - p, "%-19s%-13u%-13u%-13u%-13u%-15u%.2f%%\n%-19s%-13u%-13u%-13u%-13u%-15u%.2f%%\n",
                "OutputOperator", 1u, 7u, 0u, 0u, 7u, 700.0 / (us + 12), "InputOperator", 1u, 5u, 0u, 0u, 5u,
                500.0 / (us + 12));
  p += snprintf(p, e - p, "%.110s\n%-19s%13s%-13u%-13u%-13lld%-15lld\n%.110s\n", L, "Total", "", 12u, 0u, us, us + 12,
                L);
  return s;
}

int rknn_query(rknn_context id, int cmd, void *info, uint32_t size) {
  GET(c);
  uint32_t idx = info && size >= 4 ? *(uint32_t *)info : 0;
  lg("rknn_query(ctx=%llx, cmd=%d, size=%u, index=%u)", (unsigned long long)id, cmd, size,
     cmd == 1 || cmd == 2 || (cmd >= 8 && cmd != 12) ? idx : 0);
  FAILPT();
  if (!info) {
    return E_PARAM;
  }
#define NEED(n)                                                                                                        \
  if (size < (n)) {                                                                                                    \
    lg("  size %u < %u -> -5", size, (unsigned)(n));                                                                   \
    return E_PARAM;                                                                                                    \
  }
  switch (cmd) {
  case 0:
    NEED(8)((io_num *)info)->n_input = c->n_in;
    ((io_num *)info)->n_output = c->n_out;
    return 0;
  case 1:
  case 2:
  case 8:
  case 9:
  case 10:
  case 11:
  case 14:
  case 15:
  case 16:
  case 17: {
    NEED(sizeof(attr_t)) int is_in = cmd == 1 || (cmd > 2 && cmd % 2 == 0);
    if (idx >= (is_in ? c->n_in : c->n_out)) {
      return E_PARAM;
    }
    if (cmd >= 14 && !c->ndyn) {
      lg("  static model, cmd %d -> -6", cmd);
      return E_MODEL;
    }
    tensor_t *t = is_in ? &c->in[idx] : &c->out[idx];
    if (cmd == 8 || cmd == 9 || cmd == 16 || cmd == 17) {
      native(t, info);
    } else {
      memcpy(info, &t->a, sizeof t->a);
    }
    return 0;
  }
  case 3: {
    NEED(16) perf_detail_t *p = info;
    p->perf_data = (c->flag & 8) && c->got ? (char *)perf_text(c) : "";
    p->data_len = strlen(p->perf_data);
    return 0;
  }
  case 4:
    NEED(8) * (int64_t *)info = c->got ? c->us : 0x6666666666666667LL;
    return 0; /* real 1.5.2: uninitialised before the first run */
  case 5: {
    NEED(512) sdk_t *p = info;
    const char *a = getenv("RKNN_SHIM_API_VERSION"), *d = getenv("RKNN_SHIM_DRV_VERSION");
    memset(p, 0, sizeof *p);
    snprintf(p->api, 256, "%s", a ? a : VERSION);
    snprintf(p->drv, 256, "%s", d ? d : "0.9.8");
    return 0;
  }
  case 6: {
    NEED(64) mem_size_t *p = info;
    memset(p, 0, sizeof *p);
    p->weight = c->weight;
    p->internal = c->internal;
    p->dma = (uint64_t)c->weight + c->internal;
    for (uint32_t i = 0; i < c->n_in; i++) {
      p->dma += c->in[i].a.size;
    }
    for (uint32_t i = 0; i < c->n_out; i++) {
      p->dma += c->out[i].a.size;
    }
    return 0;
  }
  case 7:
    NEED(1024) memset(info, 0, 1024);
    strcpy(info, c->custom);
    return 0;
  case 13: {
    NEED(sizeof(range_t)) if (!c->ndyn) return E_MODEL;
    range_t *p = info;
    memset(p, 0, sizeof *p);
    p->index = idx;
    p->shape_number = c->ndyn;
    p->fmt = c->in[0].a.fmt;
    strcpy(p->name, c->in[0].a.name);
    p->n_dims = c->dynd[0];
    memcpy(p->dyn_range, c->dyn, sizeof c->dyn);
    return 0;
  }
  }
  return E_PARAM;
}

int rknn_inputs_set(rknn_context id, uint32_t n, input_t in[]) {
  GET(c);
  lg("rknn_inputs_set(ctx=%llx, n=%u)", (unsigned long long)id, n);
  for (uint32_t i = 0; in && i < n; i++) {
    uint8_t *b = in[i].buf;
    lg("  input[%u] index=%u size=%u pass_through=%u type=%d fmt=%d buf=%s first=%02x%02x%02x%02x", i, in[i].index,
       in[i].size, in[i].pass_through, in[i].type, in[i].fmt, b ? "ptr" : "NULL", b ? b[0] : 0, b ? b[1] : 0,
       b ? b[2] : 0, b ? b[3] : 0);
  }
  FAILPT();
  if (!in || n != c->n_in) {
    return E_PARAM;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (in[i].index >= c->n_in || !in[i].buf) {
      return E_IN;
    }
    tensor_t *t = &c->in[in[i].index];
    size_t need = in[i].pass_through ? t->a.size : t->a.n_elems * tsz(in[i].type);
    if (in[i].size < need) {
      fprintf(stderr, "E RKNN(shim): rknn_inputs_set, param input size(%u) < model input size(%zu)\n", in[i].size,
              need);
      return E_PARAM;
    }
    t->raw = realloc(t->raw, in[i].size ? in[i].size : 1);
    t->raw_n = in[i].size;
    memcpy(t->raw, in[i].buf, in[i].size);
  }
  return 0;
}

#ifndef SHIM_OLD
int rknn_set_core_mask(rknn_context id, int m) {
  GET(c);
  lg("rknn_set_core_mask(ctx=%llx, mask=%d)", (unsigned long long)id, m);
  FAILPT();
  if (!(m == 0 || m == 1 || m == 2 || m == 4 || m == 3 || m == 7 || m == 0xffff)) {
    return E_FAIL;
  }
  c->core = m;
  return 0;
}

int rknn_set_batch_core_num(rknn_context id, int n) {
  GET(c);
  (void)c;
  lg("rknn_set_batch_core_num(%d)", n);
  FAILPT();
  return 0;
}

#endif
static uint32_t crc32(const uint8_t *p, size_t n) {
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; p && i < n; i++) {
    crc ^= p[i];
    for (int bit = 0; bit < 8; bit++) {
      crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
    }
  }
  return ~crc;
}

int rknn_run(rknn_context id, run_ext_t *e) {
  GET(c);
  if (e) {
    lg("rknn_run(ctx=%llx, extend{frame_id=%llu non_block=%d timeout_ms=%d fence_fd=%d})", (unsigned long long)id,
       (unsigned long long)e->frame_id, e->non_block, e->timeout_ms, e->fence_fd);
  } else {
    lg("rknn_run(ctx=%llx, extend=NULL)", (unsigned long long)id);
  }
  FAILPT();
  struct timespec t0, t1;
  clock_gettime(CLOCK_MONOTONIC, &t0);
  uint32_t wait_us = c->run_us;
  int late = e && e->timeout_ms > 0 && wait_us > 1000u * e->timeout_ms;
  if (late) {
    wait_us = 1000u * e->timeout_ms;
  }
  c->running = 1;
  if (wait_us) {
    struct timespec d = {wait_us / 1000000, (wait_us % 1000000) * 1000L};
    nanosleep(&d, NULL);
  }
  c->running = 0;
  if (late) {
    lg("  timeout after %d ms", e->timeout_ms);
    return E_TIMEOUT;
  }
  double sum = 0;
  tensor_t *i0 = &c->in[0];
  uint8_t *dense = NULL;
  if (i0->io && i0->pad_w) { /* the rows without what lies between them */
    uint32_t rows = i0->a.dims[0] * i0->a.dims[1], row = i0->a.dims[2] * i0->a.dims[3],
             step = (i0->a.dims[2] + i0->pad_w) * i0->a.dims[3];
    dense = malloc((size_t)rows * row);
    for (uint32_t y = 0; y < rows; y++) {
      memcpy(dense + (size_t)y * row, (uint8_t *)i0->io->virt + (size_t)y * step, row);
    }
  }
  const uint8_t *ib = dense ? dense : i0->io ? i0->io->virt : i0->raw;
  size_t in_n = dense ? i0->a.n_elems : i0->io ? i0->io->size : i0->raw_n;
  for (size_t i = 0; ib && i < in_n; i++) {
    sum += ib[i];
  }
  for (uint32_t o = 0; o < c->n_out; o++) {
    tensor_t *t = &c->out[o];
    attr_t *a = &t->a;
    t->raw = realloc(t->raw, a->size + 8);
    t->raw_n = a->size;
    int by_input = !strncmp(t->fill, "crc:", 4);
    if (by_input || !strncmp(t->fill, "file:", 5)) {
      char path[330];
      if (by_input) {
        snprintf(path, sizeof path, "%s-%08x.bin", t->fill + 4, crc32(ib, i0->a.size));
      } else {
        snprintf(path, sizeof path, "%s", t->fill + 5);
      }
      FILE *f = fopen(path, "rb");
      if (!f) {
        fprintf(stderr, "E RKNN(shim): no recorded output %s\n", path);
      }
      if (!f || fread(t->raw, 1, a->size, f) != a->size) {
        if (f) {
          fclose(f);
        }
        free(dense);
        return E_FAIL;
      }
      fclose(f);
    } else {
      for (size_t i = 0; i < a->n_elems; i++) {
        double v;
        if (!strncmp(t->fill, "const:", 6)) {
          v = atof(t->fill + 6);
        } else if (!strcmp(t->fill, "echo")) {
          v = in_n ? ib[i % in_n] - (a->type == I8 ? 128.0 : 0) : 0;
        } else if (!strcmp(t->fill, "sum")) {
          v = fmod(sum + i, 256) - 128;
        } else {
          v = (double)(i % 256) - 128;
        }
        raw_put(t->raw, a->type, i, v);
      }
    }
    if (t->io) {
      attr_t *q = &t->io_attr;
      uint8_t *dst = (uint8_t *)t->io->virt + t->io->offset; /* zero copy */
      if ((q->fmt != a->fmt || q->size_with_stride != q->size) && a->n_dims == 4) {
        int last = a->fmt == NHWC;
        uint32_t C = a->dims[last ? 3 : 1], H = a->dims[last ? 1 : 2], W = a->dims[last ? 2 : 3];
        size_t item = tsz(a->type);
        memset(dst, 0, q->size_with_stride);
        for (uint32_t k = 0; k < C; k++) {
          for (uint32_t y = 0; y < H; y++) {
            for (uint32_t x = 0; x < W; x++) {
              memcpy(dst + place(q, k, y, x) * item, t->raw + place(a, k, y, x) * item, item);
            }
          }
        }
      } else if (q->type == F32 && a->type != F32) {
        for (size_t i = 0; i < a->n_elems; i++) {
          ((float *)dst)[i] =
              a->qnt_type ? (raw_at(t->raw, a->type, i) - a->zp) * a->scale : raw_at(t->raw, a->type, i);
        }
      } else {
        memcpy(dst, t->raw, a->size);
      }
    }
  }
  free(dense);
  clock_gettime(CLOCK_MONOTONIC, &t1);
  c->us = (t1.tv_sec - t0.tv_sec) * 1000000LL + (t1.tv_nsec - t0.tv_nsec) / 1000;
  c->ran = 1;
  c->frame++;
  if (c->out[0].io) {
    c->got = 1;
  }
  if (e) {
    e->frame_id = c->frame;
  }
  return 0;
}

int rknn_wait(rknn_context id, run_ext_t *e) {
  GET(c);
  (void)c;
  (void)e;
  lg("rknn_wait");
  FAILPT();
  return 0;
}

int rknn_outputs_get(rknn_context id, uint32_t n, output_t o[], uint64_t *ext) {
  GET(c);
  lg("rknn_outputs_get(ctx=%llx, n=%u, extend=%s)", (unsigned long long)id, n, ext ? "ptr" : "NULL");
  for (uint32_t i = 0; o && i < n; i++) {
    lg("  output[%u] index=%u want_float=%u is_prealloc=%u size=%u buf=%s", i, o[i].index, o[i].want_float,
       o[i].is_prealloc, o[i].size, o[i].buf ? "ptr" : "NULL");
  }
  FAILPT();
  if (!o || n != c->n_out) {
    return E_PARAM;
  }
  if (!c->ran) {
    return E_FAIL;
  }
  for (uint32_t i = 0; i < n; i++) {
    tensor_t *t = &c->out[o[i].index < c->n_out ? o[i].index : 0];
    if (o[i].index >= c->n_out) {
      return E_PARAM;
    }
    attr_t *a = &t->a;
    uint32_t need = o[i].want_float ? a->n_elems * 4 : a->size;
    if (o[i].is_prealloc) {
      if (!o[i].buf || o[i].size < need) {
        return E_PARAM;
      }
    } else {
      o[i].buf = malloc(need ? need : 1);
      o[i].size = need;
    }
    if (o[i].want_float) {
      for (size_t k = 0; k < a->n_elems; k++) {
        ((float *)o[i].buf)[k] =
            a->qnt_type ? (raw_at(t->raw, a->type, k) - a->zp) * a->scale : raw_at(t->raw, a->type, k);
      }
    } else {
      memcpy(o[i].buf, t->raw, a->size);
    }
  }
  if (ext) {
    *ext = c->frame;
  }
  c->got = 1;
  return 0;
}

int rknn_outputs_release(rknn_context id, uint32_t n, output_t o[]) {
  GET(c);
  (void)c;
  lg("rknn_outputs_release(n=%u)", n);
  FAILPT();
  for (uint32_t i = 0; o && i < n; i++) {
    if (!o[i].is_prealloc) {
      free(o[i].buf);
      o[i].buf = NULL;
    }
  }
  return 0;
}

#ifndef SHIM_OLD
mem_t *rknn_create_mem2(rknn_context id, uint64_t size, uint64_t flags) {
  lg("rknn_create_mem(size=%llu, flags=%llu)", (unsigned long long)size, (unsigned long long)flags);
  if (!find(id) || inject("rknn_create_mem")) {
    return NULL;
  }
  mem_t *m = calloc(1, sizeof *m);
  m->virt = calloc(1, size ? size : 1);
  m->size = size;
  m->fd = -1;
  m->flags = 1;
  return m;
}

mem_t *rknn_create_mem(rknn_context id, uint32_t size) {
  return rknn_create_mem2(id, size, 0);
}

mem_t *rknn_create_mem_from_fd(rknn_context id, int32_t fd, void *v, uint32_t size, int32_t off) {
  if (!find(id)) {
    return NULL;
  }
  mem_t *m = calloc(1, sizeof *m);
  m->virt = v;
  m->fd = fd;
  m->size = size;
  m->offset = off;
  m->flags = 2;
  return m;
}

int rknn_destroy_mem(rknn_context id, mem_t *m) {
  lg("rknn_destroy_mem");
  if (!m) {
    return E_PARAM;
  }
  ctx_t *c = find(id);
  if (c) {
    for (int i = 0; i < MAXT; i++) {
      if (c->in[i].io == m) {
        c->in[i].io = NULL;
      }
      if (c->out[i].io == m) {
        c->out[i].io = NULL;
      }
    }
  }
  if (m->flags == 1) {
    free(m->virt);
  }
  free(m);
  return 0;
}

int rknn_set_io_mem(rknn_context id, mem_t *m, attr_t *a) {
  GET(c);
  lg("rknn_set_io_mem(name=%s index=%u fmt=%d type=%d size=%u size_with_stride=%u pass_through=%u mem.size=%u)",
     a ? a->name : "?", a ? a->index : 0, a ? a->fmt : -1, a ? a->type : -1, a ? a->size : 0,
     a ? a->size_with_stride : 0, a ? a->pass_through : 0, m ? m->size : 0);
  FAILPT();
  if (!m || !a) {
    return E_PARAM;
  }
  tensor_t *t = NULL;
  for (uint32_t i = 0; i < c->n_in; i++) {
    if (!strcmp(c->in[i].a.name, a->name)) {
      t = &c->in[i];
    }
  }
  for (uint32_t i = 0; i < c->n_out; i++) {
    if (!strcmp(c->out[i].a.name, a->name)) {
      t = &c->out[i];
    }
  }
  if (!t) {
    return E_PARAM;
  }
  int is_out = t >= c->out && t < c->out + MAXT;
  size_t need = a->fmt == NC1HWC2 ? a->n_elems * tsz(t->a.type)
                : a->pass_through ? t->a.size
                                  : (size_t)t->a.n_elems * tsz(a->type);
  if (m->size < need) {
    lg("  mem too small: %u < %zu (%s)", m->size, need, is_out ? "out" : "in");
    return E_FAIL;
  }
  if (t->io && c->no_rebind) {
    return 0;
  }
  t->io = m;
  t->io_attr = *a;
  return 0;
}

int rknn_set_weight_mem(rknn_context id, mem_t *m) {
  GET(c);
  (void)c;
  (void)m;
  lg("rknn_set_weight_mem");
  return 0;
}

int rknn_set_internal_mem(rknn_context id, mem_t *m) {
  GET(c);
  (void)c;
  (void)m;
  lg("rknn_set_internal_mem");
  return 0;
}

int rknn_mem_sync(rknn_context id, mem_t *m, int mode) {
  GET(c);
  (void)c;
  (void)m;
  lg("rknn_mem_sync(mode=%d)", mode);
  FAILPT();
  return 0;
}

int rknn_set_input_shapes(rknn_context id, uint32_t n, attr_t a[]) {
  GET(c);
  lg("rknn_set_input_shapes(n=%u dims=%u,%u,%u,%u)", n, a[0].dims[0], a[0].dims[1], a[0].dims[2], a[0].dims[3]);
  FAILPT();
  if (!c->ndyn || n != c->n_in) {
    return E_PARAM;
  }
  for (uint32_t k = 0; k < c->ndyn; k++) {
    if (!memcmp(c->dyn[k], a[0].dims, 4 * c->dynd[k])) {
      c->cur_dyn = k;
      memcpy(c->in[0].a.dims, c->dyn[k], 4 * c->dynd[k]);
      finish(&c->in[0].a);
      return 0;
    }
  }
  return E_PARAM;
}

int rknn_set_input_shape(rknn_context id, attr_t *a) {
  return rknn_set_input_shapes(id, 1, a);
}

#endif
