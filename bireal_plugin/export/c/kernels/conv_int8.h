/* Real convolutions and linear layers in 8 bits. */
#ifdef BR_HAS_CONV_INT8
static void BR_NAME(quantize)(const br_window *w, const br_map *x, float scale, int zero, uint8_t *bytes) {
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
    const br_map *row_of_map = x + (size_t)from * (size_t)w->columns * (size_t)channels;
    to += (size_t)w->left * (size_t)channels;
    for (int start = 0; start < right * channels; start += BR_COPIED) {
      const int left = right * channels - start, count = left < BR_COPIED ? left : BR_COPIED;
      float copy[BR_COPIED];
      const float *values = BR_NAME(floats)(row_of_map + start, count, copy);
      for (int i = 0; i < count; i++) {
        float q = (values[i] * factor + nearest) - nearest + (float)zero;
        q = q < -127 ? -127 : q;
        q = q > 127 ? 127 : q;
        to[start + i] = (uint8_t)((int)q + BR_FLIP);
      }
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
#ifdef BR_DOT_OF_ZERO
      const int8_t *v = t.weights + b * t.next + 4 * k * BR_LANES;
      BR_NAME(i) rest = BR_NAME(same)(0);
      for (int word = 0; word < t.rows * t.taps * t.words; word++)
        rest = BR_NAME(dot)(rest, BR_NAME(same)(0), v + word * 4 * BR_BLOCK);
      t.start[b][k] = BR_NAME(less)(t.start[b][k], rest);
#endif
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
