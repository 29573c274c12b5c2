/* 1-bit convolutions with AVX2, which counts no bits, but looks up 32 bytes at once: four signs of a pixel choose a
 * table, and four weights of each output a place in it, where the number of those that differ stands. */
#ifdef BR_HAS_BINARY_CONV

/* Bytes of a band: the rows of the image that some output rows see, with padding, one byte for four channels. */
#define BR_LOOKUP_BAND 65536
/* Output pixels whose sums are kept while weights are taken part by part, and words of a part: then bytes are full. */
#define BR_LOOKUP_PIXELS 128
#define BR_LOOKUP_WORDS 7
/* Blocks of outputs and pixels that are computed together, and nibbles of a word. */
#define BR_LOOKUP_BLOCKS 4
#define BR_LOOKUP_STEP 4
#define BR_NIBBLES (BR_WORD / 4)
/* Twice the four signs is the way to their table in steps of 8 bytes. That of padding comes behind the others: half of
 * the signs count as different, so that products of +-1 add up to 0. */
#define BR_LOOKUP_PADDING 32

static const _Alignas(16) uint8_t br_lookup_tables[17][16] = {
    {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4},
    {1, 0, 2, 1, 2, 1, 3, 2, 2, 1, 3, 2, 3, 2, 4, 3},
    {1, 2, 0, 1, 2, 3, 1, 2, 2, 3, 1, 2, 3, 4, 2, 3},
    {2, 1, 1, 0, 3, 2, 2, 1, 3, 2, 2, 1, 4, 3, 3, 2},
    {1, 2, 2, 3, 0, 1, 1, 2, 2, 3, 3, 4, 1, 2, 2, 3},
    {2, 1, 3, 2, 1, 0, 2, 1, 3, 2, 4, 3, 2, 1, 3, 2},
    {2, 3, 1, 2, 1, 2, 0, 1, 3, 4, 2, 3, 2, 3, 1, 2},
    {3, 2, 2, 1, 2, 1, 1, 0, 4, 3, 3, 2, 3, 2, 2, 1},
    {1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3},
    {2, 1, 3, 2, 3, 2, 4, 3, 1, 0, 2, 1, 2, 1, 3, 2},
    {2, 3, 1, 2, 3, 4, 2, 3, 1, 2, 0, 1, 2, 3, 1, 2},
    {3, 2, 2, 1, 4, 3, 3, 2, 2, 1, 1, 0, 3, 2, 2, 1},
    {2, 3, 3, 4, 1, 2, 2, 3, 1, 2, 2, 3, 0, 1, 1, 2},
    {3, 2, 4, 3, 2, 1, 3, 2, 2, 1, 3, 2, 1, 0, 2, 1},
    {3, 4, 2, 3, 2, 3, 1, 2, 2, 3, 1, 2, 1, 2, 0, 1},
    {4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0},
    {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2},
};

typedef struct {
  const br_window *w;
  const uint32_t *signs, *weights;
  const float *scale, *bias;
  const br_tail *tail;
  int words, depth, pitch, blocks; /* words and bytes of a pixel; pixels of a row of a band; blocks of outputs */
} br_lookup_layer;

/* Sums of some pixels, in the order of the output, and where the first taps of these lie in the band. */
typedef struct {
  int first, count, places[BR_LOOKUP_PIXELS];
  _Alignas(32) int16_t sums[BR_LOOKUP_PIXELS][BR_LOOKUP_BLOCKS][BR_BLOCK];
} br_lookup_tile;

/* The rows of the image under output rows from `top` on. */
static void br_lookup_expand(const br_lookup_layer *l, int top, int rows, uint8_t *band) {
  const br_window *w = l->w;
  const int seen = (rows - 1) * w->row_stride + (w->kernel_rows - 1) * w->row_dilation + 1;
  for (int r = 0; r < seen; r++)
    for (int c = 0; c < l->pitch; c++, band += l->depth) {
      const int y = top * w->row_stride + r - w->top, x = c - w->left;
      if (y < 0 || y >= w->rows || x < 0 || x >= w->columns) {
        memset(band, 0, (size_t)l->depth);
        memset(band, BR_LOOKUP_PADDING, (size_t)w->channels / 4);
        continue;
      }
      const uint32_t *from = l->signs + ((size_t)y * (size_t)w->columns + (size_t)x) * (size_t)l->words;
      for (int word = 0; word < l->words; word++) {
        uint64_t spread = from[word];
        spread = (spread | spread << 16) & 0x0000ffff0000ffff;
        spread = (spread | spread << 8) & 0x00ff00ff00ff00ff;
        spread = ((spread | spread << 4) & 0x0f0f0f0f0f0f0f0f) << 1;
        memcpy(band + word * BR_NIBBLES, &spread, sizeof spread);
      }
    }
}

/* Weights of a word, nibble by nibble: 16 bytes for each block, zeros for blocks that are not there. */
BR_INLINE void br_lookup_weights(const uint32_t *words, size_t next, int blocks, uint8_t (*to)[16 * BR_LOOKUP_BLOCKS]) {
  const __m128i low = _mm_set1_epi8(15);
  const __m128i planes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int b = 0; b < BR_LOOKUP_BLOCKS; b++, words += next) {
    __m128i v[4], byte[4];
    for (int i = 0; i < 4; i++)
      v[i] = b < blocks ? _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)words + i), planes)
                        : _mm_setzero_si128();
    const __m128i a = _mm_unpacklo_epi32(v[0], v[1]), c = _mm_unpacklo_epi32(v[2], v[3]);
    const __m128i d = _mm_unpackhi_epi32(v[0], v[1]), e = _mm_unpackhi_epi32(v[2], v[3]);
    byte[0] = _mm_unpacklo_epi64(a, c);
    byte[1] = _mm_unpackhi_epi64(a, c);
    byte[2] = _mm_unpacklo_epi64(d, e);
    byte[3] = _mm_unpackhi_epi64(d, e);
    for (int i = 0; i < 4; i++) {
      _mm_store_si128((__m128i *)(void *)(to[2 * i] + 16 * b), _mm_and_si128(byte[i], low));
      _mm_store_si128((__m128i *)(void *)(to[2 * i + 1] + 16 * b), _mm_and_si128(_mm_srli_epi16(byte[i], 4), low));
    }
  }
}

/* Add to the sums of a tile what `words` words of weights give, whose signs lie `ways` behind those of the first tap.
 * Within its caller it would run out of registers. */
static __attribute__((noinline)) void br_lookup_part(br_lookup_tile *t, const uint8_t *band, const int *ways, int words,
                           const uint8_t (*weights)[16 * BR_LOOKUP_BLOCKS]) {
  for (int pixel = 0; pixel < t->count; pixel += BR_LOOKUP_STEP) {
    __m256i sums[BR_LOOKUP_STEP][2];
    BR_UNROLL for (int p = 0; p < BR_LOOKUP_STEP; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    const uint8_t *from[BR_LOOKUP_STEP];
    BR_UNROLL for (int p = 0; p < BR_LOOKUP_STEP; p++) from[p] = band + t->places[pixel + p];
    const __m256i *v = (const __m256i *)(const void *)weights;
    for (int word = 0; word < words; word++) {
      const ptrdiff_t way = ways[word];
      BR_UNROLL for (int n = 0; n < BR_NIBBLES; n++, v += 2)
        BR_UNROLL for (int p = 0; p < BR_LOOKUP_STEP; p++) {
          const uint8_t *table = br_lookup_tables[0] + (size_t)from[p][way + n] * 8;
          const __m256i places = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)table));
          sums[p][0] = _mm256_add_epi8(sums[p][0], _mm256_shuffle_epi8(places, v[0]));
          sums[p][1] = _mm256_add_epi8(sums[p][1], _mm256_shuffle_epi8(places, v[1]));
          /* In another order, which a compiler might choose, there are more of them than registers. */
          __asm__("" : "+x"(sums[p][0]), "+x"(sums[p][1]));
        }
    }
    BR_UNROLL for (int p = 0; p < BR_LOOKUP_STEP; p++)
      BR_UNROLL for (int b = 0; b < BR_LOOKUP_BLOCKS; b++) {
        const __m256i pair = sums[p][b / 2]; /* of blocks */
        const __m128i bytes = b % 2 ? _mm256_extracti128_si256(pair, 1) : _mm256_castsi256_si128(pair);
        __m256i *to = (__m256i *)(void *)t->sums[pixel + p][b];
        _mm256_store_si256(to, _mm256_add_epi16(_mm256_load_si256(to), _mm256_cvtepu8_epi16(bytes)));
      }
  }
}

typedef struct {
  const int16_t (*sums)[BR_LOOKUP_BLOCKS][BR_BLOCK];
  int valid;
  br_place_avx2 at;
  __m256 scale[2], bias[2];
} br_lookup_task;

BR_INLINE void br_lookup_store(const br_lookup_task *t, int done, const int count) {
  __m256 y[BR_PIXELS][2];
  BR_UNROLL for (int p = 0; p < count; p++)
    BR_UNROLL for (int k = 0; k < 2; k++) {
      const __m128i sums = _mm_load_si128((const __m128i *)(const void *)t->sums[done + p][0] + k);
      const __m256 products = br_products_avx2(t->valid, _mm256_cvtepi16_epi32(sums));
      y[p][k] = _mm256_add_ps(_mm256_mul_ps(products, t->scale[k]), t->bias[k]);
    }
  br_finish_avx2(&t->at, done, count, y);
}

/* All sums of a tile for `blocks` blocks of outputs from `block` on. */
static void br_lookup_blocks(const br_lookup_layer *l, br_lookup_tile *t, const uint8_t *band, int block, int blocks) {
  const br_window *w = l->w;
  const int words = w->kernel_rows * w->kernel_columns * l->words;
  const uint32_t *from = l->weights + (size_t)block * (size_t)words * BR_BLOCK;
  _Alignas(32) uint8_t weights[BR_LOOKUP_WORDS * BR_NIBBLES][16 * BR_LOOKUP_BLOCKS];
  memset(t->sums, 0, (size_t)(t->count + BR_LOOKUP_STEP - 1) / BR_LOOKUP_STEP * BR_LOOKUP_STEP * sizeof t->sums[0]);
  for (int first = 0; first < words; first += BR_LOOKUP_WORDS) {
    int part = words - first < BR_LOOKUP_WORDS ? words - first : BR_LOOKUP_WORDS, ways[BR_LOOKUP_WORDS];
    for (int i = 0; i < part; i++) {
      const int tap = (first + i) / l->words, row = tap / w->kernel_columns, column = tap % w->kernel_columns;
      ways[i] = (row * w->row_dilation * l->pitch + column * w->column_dilation) * l->depth +
                (first + i) % l->words * BR_NIBBLES;
      br_lookup_weights(from + (first + i) * BR_BLOCK, (size_t)words * BR_BLOCK, blocks, weights + i * BR_NIBBLES);
    }
    br_lookup_part(t, band, ways, part, (const uint8_t (*)[16 * BR_LOOKUP_BLOCKS])weights);
  }
  for (int b = 0; b < blocks; b++) {
    br_lookup_task task;
    task.sums = (const int16_t (*)[BR_LOOKUP_BLOCKS][BR_BLOCK])(const void *)t->sums[0][b];
    task.valid = w->kernel_rows * w->kernel_columns * w->channels;
    task.at = br_placed_avx2(l->tail, (size_t)t->first, 1, w->out_channels, (block + b) * BR_BLOCK, w->out_channels);
    br_fetch_avx2(l->scale + task.at.channel, task.at.width, task.scale);
    br_fetch_avx2(l->bias + task.at.channel, task.at.width, task.bias);
    BR_PIECES(br_lookup_store, &task, t->count);
  }
}

static void br_binary_conv_lookup(const br_window *w, const uint32_t *signs, const uint32_t *weights,
                                  const float *scale, const float *bias, const br_tail *tail) {
  br_lookup_layer l = {w, signs, weights, scale, bias, tail, (w->channels + BR_WORD - 1) / BR_WORD, 0, 0, 0};
  l.depth = l.words * BR_NIBBLES;
  l.pitch = br_reached_columns(w);
  l.blocks = (w->out_channels + BR_BLOCK - 1) / BR_BLOCK;
  const int taps = w->kernel_rows * w->kernel_columns, extent = (w->kernel_rows - 1) * w->row_dilation + 1;
  const int held = BR_LOOKUP_BAND / (l.depth * l.pitch) - extent; /* rows of a band beyond those of one output row */
  /* Sums are of 16 bits. Nibbles of channels and others are no padding that adds up to 0. */
  if (w->groups > 1 || l.blocks < 2 || held < 0 || taps * l.words * BR_WORD > INT16_MAX || w->channels % 4) {
    br_binary_conv_avx2(w, signs, weights, scale, bias, tail);
    return;
  }
  const int rows = held / w->row_stride + 1 < w->out_rows ? held / w->row_stride + 1 : w->out_rows;
  const int bands = (w->out_rows + rows - 1) / rows, groups = (l.blocks + BR_LOOKUP_BLOCKS - 1) / BR_LOOKUP_BLOCKS;
  int shares = 1;
#ifdef _OPENMP
  const int threads = omp_get_max_threads();
  if (threads > 1) shares = (2 * threads + bands - 1) / bands;
  if (shares > groups) shares = groups;
#pragma omp parallel for schedule(dynamic) if (threads > 1)
#endif
  for (int task = 0; task < bands * shares; task++) {
    uint8_t band[BR_LOOKUP_BAND];
    br_lookup_tile tile;
    const int top = task / shares * rows, share = task % shares;
    const int count = w->out_rows - top < rows ? w->out_rows - top : rows, pixels = count * w->out_columns;
    br_lookup_expand(&l, top, count, band);
    for (int first = 0; first < pixels; first += BR_LOOKUP_PIXELS) {
      tile.first = top * w->out_columns + first;
      tile.count = pixels - first < BR_LOOKUP_PIXELS ? pixels - first : BR_LOOKUP_PIXELS;
      for (int i = 0; i < BR_LOOKUP_PIXELS; i++) {
        const int pixel = i < tile.count ? first + i : first;
        const int row = pixel / w->out_columns, column = pixel % w->out_columns;
        tile.places[i] = (row * w->row_stride * l.pitch + column * w->column_stride) * l.depth;
      }
      for (int group = groups * share / shares; group < groups * (share + 1) / shares; group++) {
        const int block = group * BR_LOOKUP_BLOCKS, left = l.blocks - block;
        br_lookup_blocks(&l, &tile, band, block, left < BR_LOOKUP_BLOCKS ? left : BR_LOOKUP_BLOCKS);
      }
    }
  }
}
#endif
