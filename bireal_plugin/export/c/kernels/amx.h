/* 1-bit convolutions on the 8-bit matrix unit of Intel processors (AMX), where it is wider than popcount: signs become
 * bytes of +-1 once per band of rows, weights become bytes while they are used, and padding is a plain 0. */

/* Bytes of a band: the rows of the image that some output rows see, with padding. */
#define BR_AMX_BAND 81920
/* Pixels and channels of one step: four tiles of 16 pixels, and a tile of weights. */
#define BR_AMX_PIXELS 64
#define BR_AMX_DEPTH 64

typedef struct {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} br_tile_config;

#ifdef BR_EMULATE_AMX
static _Thread_local int32_t br_tiles[8][16][16];
BR_INLINE void br_tile_configure(const br_tile_config *c) { (void)c; }
BR_INLINE void br_tile_release(void) {}
#define BR_TILE_ZERO(t) memset(br_tiles[t], 0, sizeof br_tiles[t])
#define BR_TILE_LOAD(t, from, stride) \
  for (int i_ = 0; i_ < 16; i_++) memcpy(br_tiles[t][i_], (const char *)(from) + i_ * (stride), 64)
#define BR_TILE_STORE(t, to) memcpy(to, br_tiles[t], sizeof br_tiles[t])
#define BR_TILE_DOT(sum, a, b) br_tile_dot(sum, a, b)
static inline void br_tile_dot(int sum, int a, int b) {
  for (int m = 0; m < 16; m++)
    for (int k = 0; k < 16; k++)
      for (int n = 0; n < 16; n++)
        for (int j = 0; j < 4; j++)
          br_tiles[sum][m][n] += ((const int8_t *)br_tiles[a][m])[4 * k + j] * ((const int8_t *)br_tiles[b][k])[4 * n + j];
}
#else
BR_INLINE void br_tile_configure(const br_tile_config *c) { _tile_loadconfig(c); }
BR_INLINE void br_tile_release(void) { _tile_release(); }
#define BR_TILE_ZERO(t) _tile_zero(t)
#define BR_TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define BR_TILE_STORE(t, to) _tile_stored(t, to, 64)
#define BR_TILE_DOT(sum, a, b) _tile_dpbssd(sum, a, b)
#endif

typedef struct {
  const br_window *w;
  const uint32_t *signs, *weights;
  const float *scale, *bias;
  const br_tail *tail;
  int words, depth, pitch, rows, blocks; /* words and bytes of a pixel; pixels and output rows of a band; blocks */
} br_amx_layer;

/* +1 where a bit is set, -1 where it is not. */
BR_INLINE __m512i br_amx_bytes(uint64_t bits) {
  return _mm512_mask_blend_epi8(bits, _mm512_set1_epi8(-1), _mm512_set1_epi8(1));
}

/* The rows of the image under output rows from `top` on, as bytes. */
static void br_amx_expand(const br_amx_layer *l, int top, int rows, int8_t *band) {
  const br_window *w = l->w;
  const int last = w->channels % BR_AMX_DEPTH; /* bytes behind the last channel are 0 */
  for (int r = 0; r < rows + w->kernel_rows - 1; r++)
    for (int c = 0; c < l->pitch; c++) {
      int8_t *to = band + ((size_t)r * (size_t)l->pitch + (size_t)c) * (size_t)l->depth;
      const int y = top + r - w->top, x = c - w->left;
      if (y < 0 || y >= w->rows || x < 0 || x >= w->columns) {
        memset(to, 0, (size_t)l->depth);
        continue;
      }
      const uint32_t *from = l->signs + ((size_t)y * (size_t)w->columns + (size_t)x) * (size_t)l->words;
      for (int word = 0; word < l->words; word += 2, to += BR_AMX_DEPTH) {
        const uint64_t bits = from[word] | (word + 1 < l->words ? (uint64_t)from[word + 1] << 32 : 0);
        const int partial = last && word + 2 >= l->words;
        _mm512_storeu_si512(to, _mm512_maskz_mov_epi8(partial ? (1ull << last) - 1 : ~0ull, br_amx_bytes(bits)));
      }
    }
}

/* A tile of weights: row r holds, for each of 16 outputs, bits 4 r to 4 r + 3 of its two words. */
BR_INLINE void br_amx_weights(const uint32_t *words, int two, int8_t (*tile)[64]) {
  const __m512i none = _mm512_setzero_si512(), places = _mm512_set1_epi32(0x08040201);
  const __m512i spread = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  for (int half = 0; half < 2; half++) {
    __m512i v = half && !two ? none : _mm512_loadu_si512(words + half * BR_BLOCK);
    BR_UNROLL for (int r = 0; r < 8; r++, v = _mm512_srli_epi32(v, 4))
      _mm512_store_si512(tile[8 * half + r],
                         br_amx_bytes(_mm512_test_epi8_mask(_mm512_shuffle_epi8(v, spread), places)));
  }
}

typedef struct {
  const int32_t (*sums)[BR_BLOCK];
  br_place_avx512 at;
  __m512 scale[1], bias[1];
} br_amx_task;

BR_INLINE void br_amx_store(const br_amx_task *t, int done, const int count) {
  __m512 y[8][1];
  BR_UNROLL for (int p = 0; p < count; p++) {
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(t->sums[done + p]));
    y[p][0] = _mm512_add_ps(_mm512_mul_ps(sum, t->scale[0]), t->bias[0]);
  }
  br_finish_avx512(&t->at, done, count, y);
}

static void br_amx_block(const br_amx_layer *l, int top, int rows, int block, const int8_t *band) {
  const br_window *w = l->w;
  const int taps = w->kernel_rows * w->kernel_columns, steps = l->depth / BR_AMX_DEPTH, pixels = rows * l->pitch;
  const uint32_t *weights = l->weights + (size_t)block * (size_t)(taps * l->words) * BR_BLOCK;
  _Alignas(64) int8_t tile[16][64];
  _Alignas(64) int32_t sums[BR_AMX_PIXELS][BR_BLOCK];
  br_amx_task t;
  for (int m = 0; m < pixels; m += BR_AMX_PIXELS) {
    BR_TILE_ZERO(0);
    BR_TILE_ZERO(1);
    BR_TILE_ZERO(2);
    BR_TILE_ZERO(3);
    for (int tap = 0; tap < taps; tap++) {
      const int first = m + tap / w->kernel_columns * l->pitch + tap % w->kernel_columns;
      for (int s = 0; s < steps; s++) {
        const int8_t *a = band + (size_t)first * (size_t)l->depth + s * BR_AMX_DEPTH;
        const size_t next = 16 * (size_t)l->depth;
        br_amx_weights(weights + (tap * l->words + 2 * s) * BR_BLOCK, 2 * s + 1 < l->words, tile);
        BR_TILE_LOAD(5, tile, 64);
        BR_TILE_LOAD(4, a, l->depth);
        BR_TILE_DOT(0, 4, 5);
        BR_TILE_LOAD(6, a + next, l->depth);
        BR_TILE_DOT(1, 6, 5);
        BR_TILE_LOAD(7, a + 2 * next, l->depth);
        BR_TILE_DOT(2, 7, 5);
        BR_TILE_LOAD(4, a + 3 * next, l->depth);
        BR_TILE_DOT(3, 4, 5);
      }
    }
    BR_TILE_STORE(0, sums[0]);
    BR_TILE_STORE(1, sums[16]);
    BR_TILE_STORE(2, sums[32]);
    BR_TILE_STORE(3, sums[48]);
    for (int i = 0; i < BR_AMX_PIXELS && m + i < pixels;) {
      const int row = (m + i) / l->pitch, column = (m + i) % l->pitch;
      int count = (column < w->out_columns ? w->out_columns : l->pitch) - column;
      if (count > BR_AMX_PIXELS - i) count = BR_AMX_PIXELS - i;
      if (column < w->out_columns) { /* else pixels between two rows */
        const size_t pixel = (size_t)(top + row) * (size_t)w->out_columns + (size_t)column;
        t.sums = (const int32_t (*)[BR_BLOCK])sums + i;
        t.at = br_placed_avx512(l->tail, pixel, 1, w->out_channels, block * BR_BLOCK, w->out_channels);
        br_fetch_avx512(l->scale + t.at.channel, t.at.width, t.scale);
        br_fetch_avx512(l->bias + t.at.channel, t.at.width, t.bias);
        BR_PIECES(br_amx_store, &t, count);
      }
      i += count;
    }
  }
}

static void br_binary_conv_amx(const br_window *w, const uint32_t *signs, const uint32_t *weights, const float *scale,
                               const float *bias, const br_tail *tail) {
  br_amx_layer l = {w, signs, weights, scale, bias, tail, (w->channels + BR_WORD - 1) / BR_WORD, 0, 0, 0, 0};
  l.depth = (w->channels + BR_AMX_DEPTH - 1) / BR_AMX_DEPTH * BR_AMX_DEPTH;
  l.pitch = br_reached_columns(w);
  l.blocks = (w->out_channels + BR_BLOCK - 1) / BR_BLOCK;
  /* Behind a band lie the pixels that the last step reads in vain. */
  l.rows = (BR_AMX_BAND / l.depth - BR_AMX_PIXELS - w->kernel_columns) / l.pitch - (w->kernel_rows - 1);
  if (l.rows > w->out_rows) l.rows = w->out_rows;
  const int plain = w->row_stride == 1 && w->column_stride == 1 && w->row_dilation == 1 && w->column_dilation == 1;
  if (!plain || w->groups > 1 || l.rows < 1) {
    br_binary_conv_avx512(w, signs, weights, scale, bias, tail);
    return;
  }
  const int bands = (w->out_rows + l.rows - 1) / l.rows;
  int shares = 1;
#ifdef _OPENMP
  const int threads = omp_get_max_threads();
  if (threads > 1) shares = (2 * threads + bands - 1) / bands;
  if (shares > l.blocks) shares = l.blocks;
#pragma omp parallel for schedule(dynamic) if (threads > 1)
#endif
  for (int task = 0; task < bands * shares; task++) {
    _Alignas(64) int8_t band[BR_AMX_BAND];
    const int top = task / shares * l.rows, share = task % shares;
    const int rows = w->out_rows - top < l.rows ? w->out_rows - top : l.rows;
    br_tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    br_tile_configure(&config);
    br_amx_expand(&l, top, rows, band);
    memset(band + (size_t)(rows + w->kernel_rows - 1) * (size_t)l.pitch * (size_t)l.depth, 0,
           (size_t)(BR_AMX_PIXELS + w->kernel_columns) * (size_t)l.depth);
    for (int block = l.blocks * share / shares; block < l.blocks * (share + 1) / shares; block++)
      br_amx_block(&l, top, rows, block, band);
    br_tile_release();
  }
}

#define BR_TABLE br_kernels_amx
#define BR_BINARY_CONV br_binary_conv_amx
#include "table.h"
#undef BR_TABLE
#undef BR_BINARY_CONV
