/* The kernels, written once for every instruction set: `kernels.h` includes this file with BR_ISA and BR_NAME set. */
#undef F
#undef B
#undef BR_PIECES
#undef BR_SHARED
#include "vectors.h"

#define F BR_NAME(f)
#define B BR_NAME(b)

/* ---- From sums to what is stored ------------------------------------------------------------------------------- */

/* Where a block of up to BR_BLOCK channels of some pixels goes. */
typedef struct {
  const br_tail *tail;
  size_t pixel, step;            /* the first pixel and the way to the next */
  int channels, channel, width;  /* of the whole map; the block's first; how many of its lanes are channels */
  size_t words, word;            /* of the sign map: words of a pixel; the block's first word in it */
  int low, last;                 /* the first bit in that word, 0 or 16; it holds the last channel */
} BR_NAME(place);

BR_INLINE BR_NAME(place) BR_NAME(placed)(const br_tail *tail, size_t pixel, size_t step, int channels, int channel,
                                          int end) {
  BR_NAME(place) at = {tail, pixel, step, channels, channel, end - channel, 0, 0, 0, channel + BR_BLOCK >= channels};
  if (at.width > BR_BLOCK) at.width = BR_BLOCK;
  at.words = (size_t)((channels + BR_WORD - 1) / BR_WORD);
  at.word = (size_t)(channel / BR_WORD);
  at.low = channel % BR_WORD;
  return at;
}

/* `width` numbers, and 0 behind them. */
BR_INLINE void BR_NAME(fetch)(const float *values, int width, F *v) {
  float x[BR_BLOCK] = {0};
  if (width < BR_BLOCK) values = memcpy(x, values, (size_t)width * sizeof(float));
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) v[k] = BR_NAME(load)(values + k * BR_LANES);
}

static void BR_NAME(apply)(const BR_NAME(place) *at, size_t first, int count, float (*y)[BR_BLOCK]) {
  float v[BR_PIXELS][BR_BLOCK];
  float *x = y[0], *u = v[0];
  const int n = count * BR_BLOCK;
  const size_t size = (size_t)at->width * sizeof(float);
  for (int i = 0; i < n; i++) u[i] = 0;
  for (int s = 0; s < at->tail->count; s++) {
    const br_step *step = at->tail->steps + s;
    for (int p = 0; p < count; p++) {
      size_t pixel = first + (size_t)p * at->step;
      if (step->shape == BR_MAP) memcpy(v[p], step->values + pixel * (size_t)at->channels + at->channel, size);
      if (step->shape == BR_CHANNEL) memcpy(v[p], step->values + at->channel, size);
      float a = step->shape == BR_PIXEL ? step->values[pixel] : step->a;
      if (step->shape == BR_PIXEL || step->shape == BR_NUMBER)
        for (int i = 0; i < BR_BLOCK; i++) v[p][i] = a;
    }
    switch (step->operation) {
      case BR_ADD: for (int i = 0; i < n; i++) x[i] = x[i] + u[i]; break;
      case BR_SUB: for (int i = 0; i < n; i++) x[i] = x[i] - u[i]; break;
      case BR_RSUB: for (int i = 0; i < n; i++) x[i] = u[i] - x[i]; break;
      case BR_MUL: for (int i = 0; i < n; i++) x[i] = x[i] * u[i]; break;
      case BR_DIV: for (int i = 0; i < n; i++) x[i] = x[i] / u[i]; break;
      case BR_RDIV: for (int i = 0; i < n; i++) x[i] = u[i] / x[i]; break;
      case BR_MAX: for (int i = 0; i < n; i++) x[i] = x[i] < u[i] ? u[i] : x[i]; break;
      case BR_MIN: for (int i = 0; i < n; i++) x[i] = x[i] > u[i] ? u[i] : x[i]; break;
      case BR_PRELU: for (int i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : u[i] * x[i]; break;
      case BR_ELU: for (int i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : br_expm1(x[i]); break;
      case BR_SIGMOID: for (int i = 0; i < n; i++) x[i] = 1 / (1 + br_exp(-x[i])); break;
      case BR_TANH: for (int i = 0; i < n; i++) x[i] = br_tanh(x[i]); break;
      case BR_EXP: for (int i = 0; i < n; i++) x[i] = br_exp(x[i]); break;
      case BR_ABS: for (int i = 0; i < n; i++) x[i] = x[i] < 0 ? -x[i] : x[i]; break;
    }
  }
}

BR_INLINE void BR_NAME(store_signs)(const BR_NAME(place) *at, size_t pixel, const F *y) {
  F shifted[BR_PARTS];
  unsigned bits = 0;
  uint32_t *word = at->tail->signs + pixel * at->words + at->word;
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) shifted[k] = y[k];
  if (at->tail->sign_shift) {
    BR_NAME(fetch)(at->tail->sign_shift + at->channel, at->width, shifted);
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) shifted[k] = BR_NAME(add)(y[k], shifted[k]);
  }
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) bits |= BR_NAME(at_least_zero)(shifted[k]) << (k * BR_LANES);
  if (at->width < BR_BLOCK) bits &= (1u << at->width) - 1;
  if (at->low) {
    uint16_t half = (uint16_t)bits;
    memcpy((char *)word + 2, &half, sizeof half);
  } else if (!at->last) {
    uint16_t half = (uint16_t)bits;
    memcpy(word, &half, sizeof half);
  } else {
    *word = bits; /* the upper half has no channels */
  }
}

/* Apply the steps to `count` pixels behind `done` others, a compile-time constant up to BR_PIXELS, and store them. */
BR_INLINE void BR_NAME(finish)(const BR_NAME(place) *at, int done, const int count, F (*y)[BR_PARTS]) {
  const br_tail *tail = at->tail;
  const size_t first = at->pixel + (size_t)done * at->step;
  const int full = at->width == BR_BLOCK;
  const br_step *only = tail->steps;
  if (tail->count == 1 && full && only->operation == BR_ADD && only->shape == BR_MAP) {
    BR_UNROLL for (int p = 0; p < count; p++) {
      const float *v = only->values + (first + (size_t)p * at->step) * (size_t)at->channels + at->channel;
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(add)(y[p][k], BR_NAME(load)(v + k * BR_LANES));
    }
  } else if (tail->count) {
    float x[BR_PIXELS][BR_BLOCK];
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(x[p] + k * BR_LANES, y[p][k]);
    BR_NAME(apply)(at, first, count, x);
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(load)(x[p] + k * BR_LANES);
  }
  BR_UNROLL for (int p = 0; p < count; p++) {
    size_t pixel = first + (size_t)p * at->step;
    if (tail->out && full) {
      float *out = tail->out + pixel * (size_t)at->channels + at->channel;
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(out + k * BR_LANES, y[p][k]);
    } else if (tail->out) {
      float x[BR_BLOCK];
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(x + k * BR_LANES, y[p][k]);
      memcpy(tail->out + pixel * (size_t)at->channels + at->channel, x, (size_t)at->width * sizeof(float));
    }
    if (tail->signs) BR_NAME(store_signs)(at, pixel, y[p]);
  }
}

/* Runs of pixels in pieces whose size the compiler knows, as equal as they can be: a piece of one pixel waits for each
 * of its sums. */
#if BR_PIXELS >= 8
#define BR_PIECES(KERNEL, task, pixels)                                                  \
  for (int done_ = 0, left_ = (pixels), pieces_ = (left_ + 7) / 8; pieces_ > 0; pieces_--) { \
    const int size_ = (left_ + pieces_ - 1) / pieces_;                                   \
    switch (size_) {                                                                     \
      case 8: KERNEL(task, done_, 8); break;                                             \
      case 7: KERNEL(task, done_, 7); break;                                             \
      case 6: KERNEL(task, done_, 6); break;                                             \
      case 5: KERNEL(task, done_, 5); break;                                             \
      case 4: KERNEL(task, done_, 4); break;                                             \
      case 3: KERNEL(task, done_, 3); break;                                             \
      case 2: KERNEL(task, done_, 2); break;                                             \
      default: KERNEL(task, done_, 1);                                                   \
    }                                                                                    \
    done_ += size_;                                                                      \
    left_ -= size_;                                                                      \
  }
#elif BR_PIXELS >= 4
#define BR_PIECES(KERNEL, task, pixels)                                     \
  do {                                                                           \
    int done_ = 0;                                                               \
    for (; done_ + 4 <= (pixels); done_ += 4) KERNEL(task, done_, 4); \
    if (done_ + 2 <= (pixels)) KERNEL(task, done_, 2), done_ += 2;    \
    if (done_ < (pixels)) KERNEL(task, done_, 1);               \
  } while (0)
#else
#define BR_PIECES(KERNEL, task, pixels) \
  for (int done_ = 0; done_ < (pixels); done_++) KERNEL(task, done_, 1)
#endif

/* ---- 1-bit convolution ----------------------------------------------------------------------------------------- */

#ifdef BR_HAS_BINARY_CONV
typedef struct {
  const br_window *w;
  const uint32_t *signs, *weights;
  const float *scale, *bias;
  const br_tail *tail;
  int words, blocks; /* words of a group's channels in a pixel; blocks of a group's output channels */
} BR_NAME(binary_layer);

/* A run of pixels for one block of output channels. */
typedef struct {
  const uint32_t *x, *weights; /* under the first tap of the first pixel */
  ptrdiff_t row, column, stride, next_row, next_column; /* ways in x, and in the weights */
  int rows, runs, length, valid;                        /* `runs` runs of `length` words in each row; products */
  BR_NAME(place) at;
  F scale[BR_PARTS], bias[BR_PARTS];
} BR_NAME(binary_task);

BR_INLINE void BR_NAME(binary_pixels)(const BR_NAME(binary_task) *t, int done, const int count) {
  const ptrdiff_t stride = t->stride;
  const uint32_t *x0 = t->x + done * stride;
  B sums[BR_PIXELS][BR_PARTS];
#if BR_BYTES
  B full[BR_PIXELS][BR_PARTS];
  int free = BR_BYTES;
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) full[p][k] = BR_NAME(none)();
#endif
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) sums[p][k] = BR_NAME(none)();
  for (int r = 0; r < t->rows; r++)
    for (int c = 0; c < t->runs; c++) {
      const uint32_t *x = x0 + r * t->row + c * t->column, *v = t->weights + r * t->next_row + c * t->next_column;
      for (int left = t->length; left > 0;) {
#if BR_BYTES
        int part = left < free ? left : free;
#else
        int part = left;
#endif
        for (const uint32_t *end = x + part; x < end; x++, v += BR_BLOCK)
          BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
            B weight = BR_NAME(bits)(v + k * BR_LANES);
            BR_UNROLL for (int p = 0; p < count; p++)
              sums[p][k] = BR_NAME(count)(sums[p][k], BR_NAME(every)(x[p * stride]), weight);
          }
        left -= part;
#if BR_BYTES
        free -= part;
        if (free == 0) {
          BR_UNROLL for (int p = 0; p < count; p++)
            BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
              full[p][k] = BR_NAME(sum)(full[p][k], BR_NAME(totals)(sums[p][k]));
              sums[p][k] = BR_NAME(none)();
            }
          free = BR_BYTES;
        }
#endif
      }
    }
  F y[BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
#if BR_BYTES
      B total = BR_NAME(sum)(full[p][k], BR_NAME(totals)(sums[p][k]));
#else
      B total = sums[p][k];
#endif
      y[p][k] = BR_NAME(add)(BR_NAME(mul)(BR_NAME(products)(t->valid, total), t->scale[k]), t->bias[k]);
    }
  BR_NAME(finish)(&t->at, done, count, y);
}

static void BR_NAME(binary_run)(const void *layer, const br_run *run, int block) {
  const BR_NAME(binary_layer) *l = layer;
  const br_window *w = l->w;
  const int group = block / l->blocks, outputs = w->out_channels / w->groups, words = l->words;
  const int joined = w->column_dilation == 1 && w->groups == 1; /* taps of a row are neighbours in memory */
  const int taps = run->column1 - run->column0, channel = group * outputs + (block % l->blocks) * BR_BLOCK;
  const ptrdiff_t pixel = (ptrdiff_t)w->groups * words, tap = (ptrdiff_t)words * BR_BLOCK;
  BR_NAME(binary_task) t;
  t.x = l->signs + run->start + (ptrdiff_t)group * words;
  t.next_column = tap;
  t.next_row = tap * w->kernel_columns;
  t.weights = l->weights + block * t.next_row * w->kernel_rows + run->row0 * t.next_row + run->column0 * tap;
  t.row = (ptrdiff_t)w->row_dilation * w->columns * pixel;
  t.column = (ptrdiff_t)w->column_dilation * pixel;
  t.stride = run->stride;
  t.rows = run->row1 - run->row0;
  t.runs = joined ? (taps > 0) : taps;
  t.length = joined ? taps * words : words;
  t.valid = t.rows * taps * (w->channels / w->groups);
  t.at = BR_NAME(placed)(l->tail, run->first, run->step, w->out_channels, channel, (group + 1) * outputs);
  BR_NAME(fetch)(l->scale + channel, t.at.width, t.scale);
  BR_NAME(fetch)(l->bias + channel, t.at.width, t.bias);
  BR_PIECES(BR_NAME(binary_pixels), &t, run->count);
}

static void BR_NAME(binary_conv)(const br_window *w, const uint32_t *signs, const uint32_t *weights,
                                 const float *scale, const float *bias, const br_tail *tail) {
  BR_NAME(binary_layer) layer = {w, signs, weights, scale, bias, tail, 0, 0};
  layer.words = (w->channels / w->groups + BR_WORD - 1) / BR_WORD;
  layer.blocks = (w->out_channels / w->groups + BR_BLOCK - 1) / BR_BLOCK;
  br_sweep(w, layer.words * w->groups, layer.blocks * w->groups, BR_NAME(binary_run), &layer);
}
#endif

/* ---- Real convolution ------------------------------------------------------------------------------------------ */

#ifdef BR_HAS_CONV
typedef struct {
  const br_window *w;
  const float *x, *weights, *bias;
  const br_tail *tail;
  int inputs, blocks; /* channels of a group; blocks of its output channels */
} BR_NAME(real_layer);

typedef struct {
  const float *x, *weights;
  ptrdiff_t row, column, stride, next_row, next_column;
  int rows, runs, length;
  BR_NAME(place) at;
  F bias[BR_PARTS];
} BR_NAME(real_task);

BR_INLINE void BR_NAME(real_pixels)(const BR_NAME(real_task) *t, int done, const int count) {
  const ptrdiff_t stride = t->stride;
  const float *x0 = t->x + done * stride;
  F y[BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int p = 0; p < count; p++) BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = t->bias[k];
  for (int r = 0; r < t->rows; r++)
    for (int c = 0; c < t->runs; c++) {
      const float *x = x0 + r * t->row + c * t->column, *v = t->weights + r * t->next_row + c * t->next_column;
      for (const float *end = x + t->length; x < end; x++, v += BR_BLOCK)
        BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
          F weight = BR_NAME(load)(v + k * BR_LANES);
          BR_UNROLL for (int p = 0; p < count; p++)
            y[p][k] = BR_NAME(fma)(y[p][k], BR_NAME(all)(x[p * stride]), weight);
        }
    }
  BR_NAME(finish)(&t->at, done, count, y);
}

static void BR_NAME(real_run)(const void *layer, const br_run *run, int block) {
  const BR_NAME(real_layer) *l = layer;
  const br_window *w = l->w;
  const int group = block / l->blocks, outputs = w->out_channels / w->groups, inputs = l->inputs;
  const int joined = w->column_dilation == 1 && w->groups == 1;
  const int taps = run->column1 - run->column0, channel = group * outputs + (block % l->blocks) * BR_BLOCK;
  const ptrdiff_t tap = (ptrdiff_t)inputs * BR_BLOCK;
  BR_NAME(real_task) t;
  t.x = l->x + run->start + (ptrdiff_t)group * inputs;
  t.next_column = tap;
  t.next_row = tap * w->kernel_columns;
  t.weights = l->weights + block * t.next_row * w->kernel_rows + run->row0 * t.next_row + run->column0 * tap;
  t.row = (ptrdiff_t)w->row_dilation * w->columns * w->channels;
  t.column = (ptrdiff_t)w->column_dilation * w->channels;
  t.stride = run->stride;
  t.rows = run->row1 - run->row0;
  t.runs = joined ? (taps > 0) : taps;
  t.length = joined ? taps * inputs : inputs;
  t.at = BR_NAME(placed)(l->tail, run->first, run->step, w->out_channels, channel, (group + 1) * outputs);
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) t.bias[k] = BR_NAME(all)(0);
  if (l->bias) BR_NAME(fetch)(l->bias + channel, t.at.width, t.bias);
  BR_PIECES(BR_NAME(real_pixels), &t, run->count);
}

static void BR_NAME(conv)(const br_window *w, const float *x, const float *weights, const float *bias,
                          const br_tail *tail) {
  BR_NAME(real_layer) layer = {w, x, weights, bias, tail, w->channels / w->groups, 0};
  layer.blocks = (w->out_channels / w->groups + BR_BLOCK - 1) / BR_BLOCK;
  br_sweep(w, w->channels, layer.blocks * w->groups, BR_NAME(real_run), &layer);
}
#endif

/* ---- Real convolution in 8 bits -------------------------------------------------------------------------------- */

#ifdef BR_HAS_CONV_INT8
static void BR_NAME(quantize)(const br_window *w, const float *x, float scale, int zero, uint8_t *bytes) {
  const int rows = br_reached_rows(w), columns = br_reached_columns(w), channels = w->channels;
  const float factor = 1 / scale, nearest = 12582912; /* 1.5 * 2^23: what is added to it is rounded */
  const int right = columns - w->left < w->columns ? columns - w->left : w->columns; /* columns that are read */
  const uint8_t padding = (uint8_t)(zero + BR_FLIP);
  BR_PARALLEL
  for (int row = 0; row < rows; row++) {
    uint8_t *to = bytes + (size_t)row * (size_t)columns * (size_t)channels;
    const int from = row - w->top;
    memset(to, padding, (size_t)columns * (size_t)channels);
    if (from < 0 || from >= w->rows) continue;
    const float *values = x + (size_t)from * (size_t)w->columns * (size_t)channels;
    to += (size_t)w->left * (size_t)channels;
    for (int i = 0; i < right * channels; i++) {
      float q = (values[i] * factor + nearest) - nearest + (float)zero;
      q = q < -127 ? -127 : q;
      q = q > 127 ? 127 : q;
      to[i] = (uint8_t)((int)q + BR_FLIP);
    }
  }
}

typedef struct {
  const br_window *w;
  const uint8_t *bytes;
  const int8_t *weights;
  const int32_t *weight_sums;
  const float *scale, *bias;
  const br_tail *tail;
  int zero, joined, words; /* words of 4 bytes of a row of taps (joined) or of one tap */
} BR_NAME(byte_layer);

/* Blocks of outputs that share the bytes they multiply: loading these bounds the widest vectors. */
#if BR_LANES == BR_BLOCK
#define BR_SHARED 2
#else
#define BR_SHARED 1
#endif

typedef struct {
  const uint8_t *x;
  const int8_t *weights;
  ptrdiff_t row, column, stride, next; /* ways in x, and in the weights to the next block */
  int rows, taps, words, blocks;
  BR_NAME(place) at[BR_SHARED];
  BR_NAME(i) start[BR_SHARED][BR_PARTS];
  F scale[BR_SHARED][BR_PARTS], bias[BR_SHARED][BR_PARTS];
} BR_NAME(byte_task);

/* `blocks`, too, is a compile-time constant. */
BR_INLINE void BR_NAME(byte_piece)(const BR_NAME(byte_task) *t, int done, const int count, const int blocks) {
  const ptrdiff_t stride = t->stride;
  const uint8_t *x0 = t->x + done * stride;
  const int8_t *v = t->weights;
  BR_NAME(i) sums[BR_SHARED][BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int b = 0; b < blocks; b++)
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) sums[b][p][k] = t->start[b][k];
  for (int r = 0; r < t->rows; r++)
    for (int c = 0; c < t->taps; c++) {
      const uint8_t *x = x0 + r * t->row + c * t->column;
      for (const uint8_t *end = x + 4 * t->words; x < end; x += 4, v += 4 * BR_BLOCK)
        BR_UNROLL for (int p = 0; p < count; p++) {
          int32_t bytes;
          memcpy(&bytes, x + p * stride, sizeof bytes);
          BR_UNROLL for (int b = 0; b < blocks; b++)
            BR_UNROLL for (int k = 0; k < BR_PARTS; k++)
              sums[b][p][k] = BR_NAME(dot)(sums[b][p][k], BR_NAME(same)(bytes), v + b * t->next + 4 * k * BR_LANES);
        }
    }
  BR_UNROLL for (int b = 0; b < blocks; b++) {
    F y[BR_PIXELS][BR_PARTS];
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++)
        y[p][k] = BR_NAME(add)(BR_NAME(mul)(BR_NAME(real)(sums[b][p][k]), t->scale[b][k]), t->bias[b][k]);
    BR_NAME(finish)(&t->at[b], done, count, y);
  }
}

BR_INLINE void BR_NAME(byte_pixels)(const BR_NAME(byte_task) *t, int done, const int count) {
#if BR_SHARED == 2
  if (t->blocks == 2) {
    BR_NAME(byte_piece)(t, done, count, 2);
    return;
  }
#endif
  BR_NAME(byte_piece)(t, done, count, 1);
}

static void BR_NAME(byte_run)(const void *layer, const br_run *run, int shared) {
  const BR_NAME(byte_layer) *l = layer;
  const br_window *w = l->w;
  const int block = shared * BR_SHARED, left = (w->out_channels + BR_BLOCK - 1) / BR_BLOCK - block;
  BR_NAME(byte_task) t;
  t.blocks = left < BR_SHARED ? left : BR_SHARED;
  t.rows = w->kernel_rows;
  t.taps = l->joined ? 1 : w->kernel_columns;
  t.words = l->words;
  t.x = l->bytes + run->start;
  t.next = (ptrdiff_t)t.rows * t.taps * t.words * BR_BLOCK * 4;
  t.weights = l->weights + block * t.next;
  t.row = (ptrdiff_t)w->row_dilation * w->columns * w->channels;
  t.column = (ptrdiff_t)w->column_dilation * w->channels;
  t.stride = run->stride;
  for (int b = 0; b < t.blocks; b++) {
    const int channel = (block + b) * BR_BLOCK;
    int32_t whole[BR_BLOCK] = {0};
    const int32_t *totals = l->weight_sums + channel;
    t.at[b] = BR_NAME(placed)(l->tail, run->first, run->step, w->out_channels, channel, w->out_channels);
    if (t.at[b].width < BR_BLOCK) totals = memcpy(whole, totals, (size_t)t.at[b].width * sizeof *totals);
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
      t.start[b][k] = BR_NAME(times)(BR_NAME(numbers)(totals + k * BR_LANES), BR_NAME(same)(-(l->zero + BR_FLIP)));
      t.bias[b][k] = BR_NAME(all)(0);
    }
    BR_NAME(fetch)(l->scale + channel, t.at[b].width, t.scale[b]);
    if (l->bias) BR_NAME(fetch)(l->bias + channel, t.at[b].width, t.bias[b]);
  }
  BR_PIECES(BR_NAME(byte_pixels), &t, run->count);
}

static void BR_NAME(conv_int8)(const br_window *w, const uint8_t *bytes, int zero, const int8_t *weights,
                               const int32_t *weight_sums, const float *scale, const float *bias,
                               const br_tail *tail) {
  br_window padded = *w; /* the padding is in the bytes */
  padded.rows = br_reached_rows(w);
  padded.columns = br_reached_columns(w);
  padded.top = padded.left = 0;
  BR_NAME(byte_layer) layer = {&padded, bytes, weights, weight_sums, scale, bias, tail, zero, w->column_dilation == 1, 0};
  layer.words = ((layer.joined ? w->kernel_columns : 1) * w->channels + 3) / 4;
  const int outputs = BR_SHARED * BR_BLOCK;
  br_sweep(&padded, w->channels, (w->out_channels + outputs - 1) / outputs, BR_NAME(byte_run), &layer);
}
#endif

/* ---- What has no weights: the maps' own loops ------------------------------------------------------------------ */

#ifdef BR_HAS_MAP
static void BR_NAME(map)(int pixels, int channels, int groups, const float *x, const br_tail *tail) {
  const int inside = channels / groups, words = (inside + BR_WORD - 1) / BR_WORD;
  BR_PARALLEL
  for (int pixel = 0; pixel < pixels; pixel++)
    for (int group = 0; group < groups; group++)
      for (int channel = 0; channel < inside; channel += BR_BLOCK) {
        const int all = group * inside + channel;
        BR_NAME(place) at = BR_NAME(placed)(tail, (size_t)pixel, 1, channels, all, (group + 1) * inside);
        F v[1][BR_PARTS];
        at.words = (size_t)(words * groups);
        at.word = (size_t)(group * words + channel / BR_WORD);
        at.low = channel % BR_WORD;
        at.last = channel + BR_BLOCK >= inside;
        BR_NAME(fetch)(x + (size_t)pixel * (size_t)channels + all, at.width, v[0]);
        BR_NAME(finish)(&at, 0, 1, v);
      }
}
#endif

#ifdef BR_HAS_POOL
typedef struct {
  const br_window *w;
  const float *x;
  const br_tail *tail;
  int kind; /* 0: maximum, 1: mean over pixels on the image, 2: mean over padding too */
} BR_NAME(pool_layer);

BR_INLINE void BR_NAME(pool_pixel)(const BR_NAME(pool_layer) *l, const br_run *run, int p, int channel) {
  const br_window *w = l->w;
  const ptrdiff_t row = (ptrdiff_t)w->row_dilation * w->columns * w->channels;
  const ptrdiff_t column = (ptrdiff_t)w->column_dilation * w->channels;
  const int rows = run->row1 - run->row0, columns = run->column1 - run->column0;
  const size_t pixel = run->first + (size_t)p * run->step;
  const BR_NAME(place) at = BR_NAME(placed)(l->tail, pixel, 1, w->channels, channel, w->channels);
  const float *x = l->x + run->start + p * run->stride + channel;
  F y[1][BR_PARTS], v[BR_PARTS];
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[0][k] = BR_NAME(all)(l->kind ? 0 : -INFINITY);
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {
      BR_NAME(fetch)(x + r * row + c * column, at.width, v);
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++)
        y[0][k] = l->kind ? BR_NAME(add)(y[0][k], v[k]) : BR_NAME(max)(y[0][k], v[k]);
    }
  if (l->kind) {
    const float pixels = (float)(l->kind == 1 ? rows * columns : br_padded_taps(w, pixel));
    float mean[BR_BLOCK];
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(mean + k * BR_LANES, y[0][k]);
    for (int i = 0; i < BR_BLOCK; i++) mean[i] /= pixels;
    BR_NAME(fetch)(mean, BR_BLOCK, y[0]);
  }
  BR_NAME(finish)(&at, 0, 1, y);
}

static void BR_NAME(pool_run)(const void *layer, const br_run *run, int block) {
  const BR_NAME(pool_layer) *l = layer;
  for (int p = 0; p < run->count; p++)
    for (int channel = block; channel < l->w->channels; channel += BR_BLOCK)
      BR_NAME(pool_pixel)(l, run, p, channel);
}

static void BR_NAME(pool)(const br_window *w, int kind, const float *x, const br_tail *tail) {
  BR_NAME(pool_layer) layer = {w, x, tail, kind};
  br_sweep(w, w->channels, 1, BR_NAME(pool_run), &layer);
}

#ifdef BR_HAS_MAX_POOL
static void BR_NAME(max_pool)(const br_window *w, const float *x, const br_tail *tail) {
  BR_NAME(pool)(w, 0, x, tail);
}
#endif
#ifdef BR_HAS_AVERAGE_POOL
static void BR_NAME(average_pool)(const br_window *w, const float *x, int padded, const br_tail *tail) {
  BR_NAME(pool)(w, padded ? 2 : 1, x, tail);
}
#endif
#endif

#ifdef BR_HAS_RESIZE
/* Four pixels of the input and their shares; all of the first for the nearest neighbour. */
static void BR_NAME(resize)(const br_window *w, const float *x, int bilinear, int align_corners, const br_tail *tail) {
  BR_PARALLEL
  for (int row = 0; row < w->out_rows; row++) {
    br_between r = br_source(row, w->rows, w->out_rows, bilinear, align_corners);
    for (int column = 0; column < w->out_columns; column++) {
      br_between c = br_source(column, w->columns, w->out_columns, bilinear, align_corners);
      const size_t pixel = (size_t)row * (size_t)w->out_columns + (size_t)column;
      const float *above = x + (size_t)r.first * (size_t)w->columns * (size_t)w->channels;
      const float *below = x + (size_t)r.second * (size_t)w->columns * (size_t)w->channels;
      for (int channel = 0; channel < w->channels; channel += BR_BLOCK) {
        BR_NAME(place) at = BR_NAME(placed)(tail, pixel, 1, w->channels, channel, w->channels);
        const size_t left = (size_t)c.first * (size_t)w->channels + (size_t)channel;
        const size_t right = (size_t)c.second * (size_t)w->channels + (size_t)channel;
        const size_t size = (size_t)at.width * sizeof(float);
        float a[BR_BLOCK] = {0}, b[BR_BLOCK] = {0}, d[BR_BLOCK] = {0}, e[BR_BLOCK] = {0};
        memcpy(a, above + left, size);
        if (bilinear) {
          memcpy(b, above + right, size);
          memcpy(d, below + left, size);
          memcpy(e, below + right, size);
          for (int i = 0; i < BR_BLOCK; i++)
            a[i] = (1 - r.share) * ((1 - c.share) * a[i] + c.share * b[i]) +
                   r.share * ((1 - c.share) * d[i] + c.share * e[i]);
        }
        F y[1][BR_PARTS];
        BR_NAME(fetch)(a, BR_BLOCK, y[0]);
        BR_NAME(finish)(&at, 0, 1, y);
      }
    }
  }
}

#ifdef BR_HAS_NEAREST
static void BR_NAME(nearest)(const br_window *w, const float *x, const br_tail *tail) {
  BR_NAME(resize)(w, x, 0, 0, tail);
}
#endif
#ifdef BR_HAS_BILINEAR
static void BR_NAME(bilinear)(const br_window *w, const float *x, int align_corners, const br_tail *tail) {
  BR_NAME(resize)(w, x, 1, align_corners, tail);
}
#endif
#endif

/* ---- The table ------------------------------------------------------------------------------------------------- */

#define BR_TABLE BR_NAME(kernels)
#define BR_BINARY_CONV BR_NAME(binary_conv)
#include "table.h"
#undef BR_TABLE
#undef BR_BINARY_CONV
