/* Signs, and gradients behind signs, each in one pass over memory; what PyTorch needs five to ten passes for.
 *
 * Every function rounds where PyTorch's operations on the same type round, so that both give the same bits. */
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float from_f32(float x) { return x; }
static inline float to_f32(float x) { return x; }
static inline float from_bf16(bf16 x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}
static inline bf16 to_bf16(float x) { /* to the nearest, ties to even */
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (bf16)(x != x ? 0x7fc0 : rounded);
}

typedef float f32;
#define ROUND(T, x) from_##T(to_##T(x))

#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel for schedule(static)")
#else
#define PARALLEL
#endif

/* `rows` runs of `length` numbers: -scale[row] where x < 0, scale[row] elsewhere; without scales -1 and 1. */
#define SIGNS(X, Y)                                                                                  \
  void signs_##X##_##Y(int64_t rows, int64_t length, const X *x, const float *scale, Y *y) {         \
    int64_t pieces = scale ? rows : (rows * length + 16383) / 16384;                                 \
    PARALLEL                                                                                         \
    for (int64_t i = 0; i < pieces; i++) {                                                           \
      int64_t start = scale ? i * length : i * 16384;                                                \
      int64_t end = scale ? start + length : start + 16384;                                          \
      const float size = scale ? ROUND(X, scale[i]) : 1;                                               \
      const Y plus = to_##Y(size), minus = to_##Y(-size);                                            \
      if (end > rows * length) end = rows * length;                                                  \
      for (int64_t k = start; k < end; k++) y[k] = from_##X(x[k]) < 0 ? minus : plus;                \
    }                                                                                                \
  }

/* grad times the function of x that `kind` names, as in `passes.py`. */
#define WINDOWED(X, d)                                                                             \
  for (int64_t k = start; k < end; k++) {                                                            \
    const float v = from_##X(x[k]), a = v < 0 ? -v : v;                                              \
    y[k] = to_##X((d) * ROUND(X, from_##X(grad[k])));                                                \
  }                                                                                                  \
  break;

#define WINDOW(X)                                                                                  \
  void window_##X(int64_t length, int kind, const X *x, const X *grad, X *y) {                     \
    int64_t pieces = (length + 16383) / 16384;                                                       \
    PARALLEL                                                                                         \
    for (int64_t i = 0; i < pieces; i++) {                                                           \
      int64_t start = i * 16384, end = start + 16384 < length ? start + 16384 : length;              \
      switch (kind) {                                                                                \
        case 0: WINDOWED(X, a < 1 ? 1.0f : 0.0f)                                                   \
        case 1: WINDOWED(X, a <= 1 ? 1.0f : 0.0f)                                                  \
        case 2: WINDOWED(X, a < 1 ? ROUND(X, 2 - 2 * a) : a != a ? a : 0.0f)                       \
        case 3: WINDOWED(X, a < 1 ? ROUND(X, 3 * ROUND(X, ROUND(X, 1 - a) * ROUND(X, 1 - a))) : a != a ? a : 0.0f) \
      }                                                                                              \
    }                                                                                                \
  }

SIGNS(f32, f32)
SIGNS(f32, bf16)
SIGNS(bf16, bf16)
SIGNS(bf16, f32)
WINDOW(f32)
WINDOW(bf16)
