/* Layers without weights: the tail alone, pools, resizing. */
#ifdef BR_HAS_MAP
typedef struct {
  const br_tail *tail;
  const br_map *x;
  size_t first;
  int channels, groups;
} BR_NAME(map_task);

BR_INLINE void BR_NAME(map_pixels)(const BR_NAME(map_task) *t, int done, const int count) {
  const int channels = t->channels, inside = channels / t->groups, words = (inside + BR_WORD - 1) / BR_WORD;
  for (int group = 0; group < t->groups; group++)
    for (int channel = 0; channel < inside; channel += BR_BLOCK) {
      const int all = group * inside + channel;
      BR_NAME(place) at = BR_NAME(placed)(t->tail, t->first, 1, channels, all, (group + 1) * inside);
      const br_map *x = t->x + (t->first + (size_t)done) * (size_t)channels + all;
      F v[BR_PIXELS][BR_PARTS];
      at.words = (size_t)(words * t->groups);
      at.word = (size_t)(group * words + channel / BR_WORD);
      at.low = channel % BR_WORD;
      at.last = channel + BR_BLOCK >= inside;
      BR_UNROLL for (int p = 0; p < count; p++, x += channels) BR_NAME(look)(x, at.width, v[p]);
      BR_NAME(finish)(&at, done, count, v);
    }
}

static void BR_NAME(map)(int pixels, int channels, int groups, const br_map *x, const br_tail *tail) {
  const int share = 64; /* pixels that a thread takes at a time */
  BR_PARALLEL
  for (int first = 0; first < pixels; first += share) {
    const BR_NAME(map_task) t = {tail, x, (size_t)first, channels, groups};
    const int count = pixels - first < share ? pixels - first : share;
    BR_PIECES(BR_NAME(map_pixels), &t, count);
  }
}
#endif

#ifdef BR_HAS_POOL
typedef struct {
  const br_window *w;
  const br_map *x;
  const br_tail *tail;
  int padded; /* a mean is over padding too */
} BR_NAME(pool_layer);

typedef struct {
  const BR_NAME(pool_layer) *layer;
  const br_run *run;
} BR_NAME(pool_task);

/* `mean`, too, is a compile-time constant. */
BR_INLINE void BR_NAME(pool_pixels)(const BR_NAME(pool_task) *t, int done, const int count, const int mean) {
  const BR_NAME(pool_layer) *l = t->layer;
  const br_run *run = t->run;
  const br_window *w = l->w;
  const ptrdiff_t row = (ptrdiff_t)w->row_dilation * w->columns * w->channels, stride = run->stride;
  const ptrdiff_t column = (ptrdiff_t)w->column_dilation * w->channels;
  const int rows = run->row1 - run->row0, columns = run->column1 - run->column0;
  for (int channel = 0; channel < w->channels; channel += BR_BLOCK) {
    const BR_NAME(place) at = BR_NAME(placed)(l->tail, run->first, run->step, w->channels, channel, w->channels);
    const br_map *x0 = l->x + run->start + done * stride + channel;
    F y[BR_PIXELS][BR_PARTS];
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(all)(mean ? 0 : -INFINITY);
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < columns; c++)
        BR_UNROLL for (int p = 0; p < count; p++) {
          F v[BR_PARTS];
          BR_NAME(look)(x0 + r * row + c * column + p * stride, at.width, v);
          BR_UNROLL for (int k = 0; k < BR_PARTS; k++)
            y[p][k] = mean ? BR_NAME(add)(y[p][k], v[k]) : BR_NAME(max)(y[p][k], v[k]);
        }
    if (mean)
      BR_UNROLL for (int p = 0; p < count; p++) {
        const size_t pixel = run->first + (size_t)(done + p) * run->step;
        const float pixels = (float)(l->padded ? br_padded_taps(w, pixel) : rows * columns);
        float v[BR_BLOCK];
        BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(v + k * BR_LANES, y[p][k]);
        for (int i = 0; i < BR_BLOCK; i++) v[i] /= pixels;
        BR_NAME(fetch)(v, BR_BLOCK, y[p]);
      }
    BR_NAME(finish)(&at, done, count, y);
  }
}

#ifdef BR_HAS_MAX_POOL
BR_INLINE void BR_NAME(max_pixels)(const BR_NAME(pool_task) *t, int done, const int count) {
  BR_NAME(pool_pixels)(t, done, count, 0);
}

static void BR_NAME(max_run)(const void *layer, const br_run *run, int block) {
  const BR_NAME(pool_task) t = {layer, run};
  (void)block; /* all at once */
  BR_PIECES(BR_NAME(max_pixels), &t, run->count);
}

static void BR_NAME(max_pool)(const br_window *w, const br_map *x, const br_tail *tail) {
  const BR_NAME(pool_layer) layer = {w, x, tail, 0};
  br_sweep(w, w->channels, 1, BR_NAME(max_run), &layer);
}
#endif

#ifdef BR_HAS_AVERAGE_POOL
BR_INLINE void BR_NAME(mean_pixels)(const BR_NAME(pool_task) *t, int done, const int count) {
  BR_NAME(pool_pixels)(t, done, count, 1);
}

static void BR_NAME(mean_run)(const void *layer, const br_run *run, int block) {
  const BR_NAME(pool_task) t = {layer, run};
  (void)block; /* all at once */
  BR_PIECES(BR_NAME(mean_pixels), &t, run->count);
}

static void BR_NAME(average_pool)(const br_window *w, const br_map *x, int padded, const br_tail *tail) {
  const BR_NAME(pool_layer) layer = {w, x, tail, padded};
  br_sweep(w, w->channels, 1, BR_NAME(mean_run), &layer);
}
#endif
#endif

#ifdef BR_HAS_RESIZE
BR_INLINE void BR_NAME(copy)(const br_map *x, int width, float *to) {
  F v[BR_PARTS];
  BR_NAME(look)(x, width, v);
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(to + k * BR_LANES, v[k]);
}

/* Four pixels of the input and their shares; all of the first for the nearest neighbour. */
static void BR_NAME(resize)(const br_window *w, const br_map *x, int bilinear, int align_corners, const br_tail *tail) {
  BR_PARALLEL
  for (int row = 0; row < w->out_rows; row++) {
    br_between r = br_source(row, w->rows, w->out_rows, bilinear, align_corners);
    for (int column = 0; column < w->out_columns; column++) {
      br_between c = br_source(column, w->columns, w->out_columns, bilinear, align_corners);
      const size_t pixel = (size_t)row * (size_t)w->out_columns + (size_t)column;
      const br_map *above = x + (size_t)r.first * (size_t)w->columns * (size_t)w->channels;
      const br_map *below = x + (size_t)r.second * (size_t)w->columns * (size_t)w->channels;
      for (int channel = 0; channel < w->channels; channel += BR_BLOCK) {
        BR_NAME(place) at = BR_NAME(placed)(tail, pixel, 1, w->channels, channel, w->channels);
        const size_t left = (size_t)c.first * (size_t)w->channels + (size_t)channel;
        const size_t right = (size_t)c.second * (size_t)w->channels + (size_t)channel;
        float a[BR_BLOCK], b[BR_BLOCK], d[BR_BLOCK], e[BR_BLOCK];
        BR_NAME(copy)(above + left, at.width, a);
        if (bilinear) {
          BR_NAME(copy)(above + right, at.width, b);
          BR_NAME(copy)(below + left, at.width, d);
          BR_NAME(copy)(below + right, at.width, e);
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
static void BR_NAME(nearest)(const br_window *w, const br_map *x, const br_tail *tail) {
  BR_NAME(resize)(w, x, 0, 0, tail);
}
#endif
#ifdef BR_HAS_BILINEAR
static void BR_NAME(bilinear)(const br_window *w, const br_map *x, int align_corners, const br_tail *tail) {
  BR_NAME(resize)(w, x, 1, align_corners, tail);
}
#endif
#endif
