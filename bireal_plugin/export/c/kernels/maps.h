/* Layers without weights: the tail alone, pools, resizing. */
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
