/* 1-bit convolutions by XNOR and popcount. */
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
