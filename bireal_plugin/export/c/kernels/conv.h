/* Real convolutions and linear layers in float32. */
#ifdef BR_HAS_CONV
typedef struct {
  const br_window *w;
  const br_map *x;
  const float *weights, *bias;
  const br_tail *tail;
  int inputs, blocks; /* channels of a group; blocks of its output channels */
} BR_NAME(real_layer);

typedef struct {
  const br_map *x;
  const float *weights;
  ptrdiff_t row, column, stride, next_row, next_column;
  int rows, runs, length;
  BR_NAME(place) at;
  F bias[BR_PARTS];
} BR_NAME(real_task);

BR_INLINE void BR_NAME(real_pixels)(const BR_NAME(real_task) *t, int done, const int count) {
  const ptrdiff_t stride = t->stride;
  const br_map *x0 = t->x + done * stride;
  F y[BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int p = 0; p < count; p++) BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = t->bias[k];
  for (int r = 0; r < t->rows; r++)
    for (int c = 0; c < t->runs; c++) {
      const br_map *x = x0 + r * t->row + c * t->column;
      const float *v = t->weights + r * t->next_row + c * t->next_column;
      for (const br_map *end = x + t->length; x < end; x++, v += BR_BLOCK)
        BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
          F weight = BR_NAME(load)(v + k * BR_LANES);
          BR_UNROLL for (int p = 0; p < count; p++)
            y[p][k] = BR_NAME(fma)(y[p][k], BR_NAME(spread)(x + p * stride), weight);
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

static void BR_NAME(conv)(const br_window *w, const br_map *x, const float *weights, const float *bias,
                          const br_tail *tail) {
  BR_NAME(real_layer) layer = {w, x, weights, bias, tail, w->channels / w->groups, 0};
  layer.blocks = (w->out_channels / w->groups + BR_BLOCK - 1) / BR_BLOCK;
  br_sweep(w, w->channels, layer.blocks * w->groups, BR_NAME(real_run), &layer);
}
#endif
