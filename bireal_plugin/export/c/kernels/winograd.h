/* Real convolutions whose windows have 7 columns and move by 2, as in ResNet's first layer, from 13 products where the
 * definition has 28: four outputs of a row by Winograd's minimal filtering (Lavin and Gray, 2016). Columns of even place
 * are F(4, 4), those of odd place F(4, 3); both are evaluated at 0, 1, -1, 1/2, -2 and infinity, the even ones at 2 too,
 * so that their products are summed before four outputs are made of 7 sums. */
#ifdef BR_HAS_CONV_WINOGRAD
#define BR_POINTS 7
#define BR_PRODUCTS 13 /* at point m / 2, of even columns for an even m */
#define BR_REACHED 13  /* columns of four windows */
#define BR_MOST_ROWS 7
#define BR_MOST_CHANNELS 4

#ifndef BR_EVALUATED
#define BR_EVALUATED
/* What a column of four windows gives to each product; `winograd_weights` has the factors of the weights. */
static const float br_evaluated[BR_REACHED][BR_BLOCK] = {
    {-2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {4, 0, 2, 0, -2, 0, 4, 0, -1, 0, -2, 0, 1},
    {0, -1.5f, 0, -1, 0, 1, 0, -2, 0, 0.5f, 0, 1, 0},
    {2.5f, 0, -2, 0, 6, 0, 0, 0, 2.5f, 0, 4, 0, -1.5f},
    {0, -2, 0, 0.5f, 0, -2.5f, 0, -1, 0, -1, 0, -1.5f, 0},
    {-5, 0, -4.5f, 0, -3.5f, 0, -5, 0, 0, 0, 2.5f, 0, -2},
    {0, 1.5f, 0, 2.5f, 0, 0.5f, 0, 2, 0, -0.5f, 0, -2, 0},
    {-0.5f, 0, 0.5f, 0, -1.5f, 0, 0, 0, -2.5f, 0, -5, 0, 1.5f},
    {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1.5f, 0},
    {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, -0.5f, 0, 1},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0},
};
#endif

typedef float BR_NAME(winograd_row)[BR_MOST_CHANNELS][BR_PIXELS][BR_BLOCK]; /* the input at all points */

/* One block of outputs of some columns of a row. */
typedef struct {
  const br_window *w;
  const float *weights;
  const BR_NAME(winograd_row) *seen;
  int slots[BR_MOST_ROWS]; /* of the window's rows in `seen` */
  F bias[BR_PARTS];
  float y[4 * BR_PIXELS][BR_BLOCK];
  BR_NAME(place) at;
} BR_NAME(winograd_task);

/* A row of the input, or null for one of padding; `column` is the first that the windows reach. */
static void BR_NAME(winograd_evaluate)(const br_window *w, const br_map *row, int column, int count,
                                       BR_NAME(winograd_row) to) {
  float x[(8 * BR_PIXELS + BR_REACHED - 8) * BR_MOST_CHANNELS] = {0};
  const int channels = w->channels, end = column + 8 * count + BR_REACHED - 8;
  const int first = column < 0 ? 0 : column, last = end < w->columns ? end : w->columns;
  if (row && first < last) {
    const int count = (last - first) * channels;
    float *to_x = x + (first - column) * channels;
    const float *from = BR_NAME(floats)(row + (ptrdiff_t)first * channels, count, to_x);
    if (from != to_x) memcpy(to_x, from, (size_t)count * sizeof(float));
  }
  for (int c = 0; c < channels; c++)
    for (int p = 0; p < count; p++) {
      F v[BR_PARTS];
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) v[k] = BR_NAME(all)(0);
      for (int j = 0; j < BR_REACHED; j++)
        BR_UNROLL for (int k = 0; k < BR_PARTS; k++)
          v[k] = BR_NAME(fma)(v[k], BR_NAME(all)(x[(8 * p + j) * channels + c]),
                              BR_NAME(load)(br_evaluated[j] + k * BR_LANES));
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(to[c][p] + k * BR_LANES, v[k]);
    }
}

/* The sums at all points of `count` times four outputs, and these. */
BR_INLINE void BR_NAME(winograd_outputs)(BR_NAME(winograd_task) *t, int done, const int count) {
  const float *weights = t->weights;
  float sums[BR_POINTS][BR_PIXELS][BR_BLOCK];
  for (int point = 0, m = 0; point < BR_POINTS; point++) {
    F sum[BR_PIXELS][BR_PARTS];
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) sum[p][k] = BR_NAME(all)(0);
    for (const int next = m + 2 < BR_PRODUCTS ? m + 2 : BR_PRODUCTS; m < next; m++)
      for (int r = 0; r < t->w->kernel_rows; r++)
        for (int c = 0; c < t->w->channels; c++, weights += BR_BLOCK)
          BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
            F weight = BR_NAME(load)(weights + k * BR_LANES);
            BR_UNROLL for (int p = 0; p < count; p++)
              sum[p][k] = BR_NAME(fma)(sum[p][k], BR_NAME(all)(t->seen[t->slots[r]][c][done + p][m]), weight);
          }
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(sums[point][p] + k * BR_LANES, sum[p][k]);
  }
  for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) {
      F s[BR_POINTS], even, odd;
      BR_UNROLL for (int i = 0; i < BR_POINTS; i++) s[i] = BR_NAME(load)(sums[i][p] + k * BR_LANES);
      even = BR_NAME(add)(s[1], s[2]); /* of 1 and -1 */
      odd = BR_NAME(fma)(s[1], BR_NAME(all)(-1), s[2]);
#define BR_OUTPUT(i, start, half, minus_two, two)                                                                \
  BR_NAME(store)(t->y[4 * (done + p) + i] + k * BR_LANES,                                                        \
                 BR_NAME(fma)(BR_NAME(fma)(BR_NAME(fma)(BR_NAME(add)(start, t->bias[k]), BR_NAME(all)(half), s[3]), \
                                           BR_NAME(all)(minus_two), s[4]), BR_NAME(all)(two), s[6]))
      BR_OUTPUT(0, BR_NAME(add)(even, s[0]), 1, 1, 1);
      BR_OUTPUT(1, odd, 0.5f, -2, 2);
      BR_OUTPUT(2, even, 0.25f, 4, 4);
      BR_OUTPUT(3, BR_NAME(add)(odd, s[5]), 0.125f, -8, 8);
#undef BR_OUTPUT
    }
}

BR_INLINE void BR_NAME(winograd_finish)(const BR_NAME(winograd_task) *t, int done, const int count) {
  F y[BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(load)(t->y[done + p] + k * BR_LANES);
  BR_NAME(finish)(&t->at, done, count, y);
}

typedef struct {
  const br_window *w;
  const br_map *x;
  const float *weights, *bias;
  const br_tail *tail;
  int top, bottom; /* rows of the output */
} BR_NAME(winograd_band);

/* Up to BR_PIXELS times four columns of a band. Rows of the input stay evaluated for all windows that reach them. */
static void BR_NAME(winograd_columns)(const BR_NAME(winograd_band) *band, int done, int count) {
  const br_window *w = band->w;
  const int left = w->out_columns - 4 * done, pixels = left < 4 * count ? left : 4 * count;
  const ptrdiff_t next = (ptrdiff_t)BR_PRODUCTS * w->kernel_rows * w->channels * BR_BLOCK;
  BR_NAME(winograd_row) seen[BR_MOST_ROWS];
  int held[BR_MOST_ROWS];
  BR_NAME(winograd_task) t;
  t.w = w;
  t.seen = (const BR_NAME(winograd_row) *)seen;
  for (int r = 0; r < BR_MOST_ROWS; r++) held[r] = -1;
  for (int row = band->top; row < band->bottom; row++) {
    for (int r = 0; r < w->kernel_rows; r++) {
      const int reached = row * w->row_stride + r, from = reached - w->top, slot = reached % w->kernel_rows;
      const br_map *x = from < 0 || from >= w->rows ? NULL : band->x + (ptrdiff_t)from * w->columns * w->channels;
      t.slots[r] = slot;
      if (held[slot] != reached) BR_NAME(winograd_evaluate)(w, x, 8 * done - w->left, count, seen[slot]);
      held[slot] = reached;
    }
    t.weights = band->weights;
    for (int channel = 0; channel < w->out_channels; channel += BR_BLOCK, t.weights += next) {
      t.at = BR_NAME(placed)(band->tail, (size_t)row * (size_t)w->out_columns + 4 * (size_t)done, 1, w->out_channels,
                             channel, w->out_channels);
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) t.bias[k] = BR_NAME(all)(0);
      if (band->bias) BR_NAME(fetch)(band->bias + channel, t.at.width, t.bias);
      BR_PIECES(BR_NAME(winograd_outputs), &t, count);
      BR_PIECES(BR_NAME(winograd_finish), &t, pixels);
    }
  }
}

static void BR_NAME(conv_winograd)(const br_window *w, const br_map *x, const float *weights, const float *bias,
                                   const br_tail *tail) {
#ifdef _OPENMP
  const int threads = omp_get_max_threads(), wanted = threads == 1 ? 1 : 2 * threads;
#else
  const int wanted = 1;
#endif
  const int bands = wanted < w->out_rows ? wanted : w->out_rows;
  BR_PARALLEL
  for (int i = 0; i < bands; i++) {
    const BR_NAME(winograd_band) band = {w, x, weights, bias, tail, (int)((long)w->out_rows * i / bands),
                                         (int)((long)w->out_rows * (i + 1) / bands)};
    BR_PIECES(BR_NAME(winograd_columns), &band, (w->out_columns + 3) / 4);
  }
}
#endif
