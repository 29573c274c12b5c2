/* From sums to what is stored: the steps of a tail, stores, and signs. */
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

/* The same of a feature map. */
BR_INLINE void BR_NAME(look)(const br_map *map, int width, F *v) {
  br_map x[BR_BLOCK] = {0};
  if (width < BR_BLOCK) map = memcpy(x, map, (size_t)width * sizeof(br_map));
  BR_UNROLL for (int k = 0; k < BR_PARTS; k++) v[k] = BR_NAME(see)(map + k * BR_LANES);
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
      if (step->shape == BR_MAP) {
        F map[BR_PARTS];
        BR_NAME(look)((const br_map *)step->values + pixel * (size_t)at->channels + at->channel, at->width, map);
        BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(v[p] + k * BR_LANES, map[k]);
      }
      if (step->shape == BR_CHANNEL) {
        const float *from = (const float *)step->values + at->channel;
        if (at->width == BR_BLOCK)
          memcpy(v[p], from, sizeof v[p]); /* of a size that the compiler knows */
        else
          memcpy(v[p], from, size);
      }
      const float a = step->shape == BR_PIXEL ? br_number(((const br_map *)step->values)[pixel]) : step->a;
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

/* The signs of `count` pixels; all that decides where they go is read before the first store, which might change it. */
BR_INLINE void BR_NAME(store_signs)(const BR_NAME(place) *at, size_t first, const int count, F (*y)[BR_PARTS]) {
  const br_tail *tail = at->tail;
  const int full = at->width == BR_BLOCK, alone = at->last && !at->low; /* the upper half has no channels */
  const size_t next = 4 * at->words * at->step;
  unsigned bits[BR_PIXELS];
  F v[BR_PIXELS][BR_PARTS];
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) v[p][k] = BR_NAME(nearest_map)(y[p][k]); /* as maps have it */
  if (tail->sign_shift) {
    F shift[BR_PARTS];
    BR_NAME(fetch)(tail->sign_shift + at->channel, at->width, shift);
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) v[p][k] = BR_NAME(add)(v[p][k], shift[k]);
  }
  BR_UNROLL for (int p = 0; p < count; p++) {
    bits[p] = 0;
    BR_UNROLL for (int k = 0; k < BR_PARTS; k++) bits[p] |= BR_NAME(at_least_zero)(v[p][k]) << (k * BR_LANES);
  }
  if (!full)
    BR_UNROLL for (int p = 0; p < count; p++) bits[p] &= (1u << at->width) - 1;
  char *to = (char *)(tail->signs + first * at->words + at->word) + (at->low ? 2 : 0);
  if (alone) {
    BR_UNROLL for (int p = 0; p < count; p++, to += next) memcpy(to, &bits[p], 4);
  } else {
    BR_UNROLL for (int p = 0; p < count; p++, to += next) {
      const uint16_t half = (uint16_t)bits[p];
      memcpy(to, &half, sizeof half);
    }
  }
}

/* Apply the steps to `count` pixels behind `done` others, a compile-time constant up to BR_PIXELS, and store them. */
BR_INLINE void BR_NAME(finish)(const BR_NAME(place) *at, int done, const int count, F (*y)[BR_PARTS]) {
  const br_tail *tail = at->tail;
  const size_t first = at->pixel + (size_t)done * at->step;
  const size_t start = first * (size_t)at->channels + (size_t)at->channel, next = at->step * (size_t)at->channels;
  const int full = at->width == BR_BLOCK;
  const br_step *only = tail->steps;
  if (tail->count == 1 && full && only->operation == BR_ADD && only->shape == BR_MAP) {
    const br_map *v = (const br_map *)only->values + start;
    BR_UNROLL for (int p = 0; p < count; p++, v += next)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(add)(y[p][k], BR_NAME(see)(v + k * BR_LANES));
  } else if (tail->count) {
    float x[BR_PIXELS][BR_BLOCK];
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(store)(x[p] + k * BR_LANES, y[p][k]);
    BR_NAME(apply)(at, first, count, x);
    BR_UNROLL for (int p = 0; p < count; p++)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) y[p][k] = BR_NAME(load)(x[p] + k * BR_LANES);
  }
  if (tail->out && full) {
    br_map *out = tail->out + start;
    BR_UNROLL for (int p = 0; p < count; p++, out += next)
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(keep)(out + k * BR_LANES, y[p][k]);
  } else if (tail->out) {
    br_map *out = tail->out + start, x[BR_BLOCK];
    const size_t size = (size_t)at->width * sizeof(br_map);
    BR_UNROLL for (int p = 0; p < count; p++, out += next) {
      BR_UNROLL for (int k = 0; k < BR_PARTS; k++) BR_NAME(keep)(x + k * BR_LANES, y[p][k]);
      memcpy(out, x, size);
    }
  }
  if (tail->signs) BR_NAME(store_signs)(at, first, count, y);
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
