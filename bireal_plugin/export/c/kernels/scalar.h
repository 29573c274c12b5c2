/* Any other processor, number by number. See vectors.h. */
#define BR_LANES 1
#define BR_BYTES 31
typedef float BR_NAME(f);
typedef uint32_t BR_NAME(b);
BR_INLINE float BR_NAME(load)(const float *x) { return *x; }
BR_INLINE void BR_NAME(store)(float *x, float v) { *x = v; }
BR_INLINE float BR_NAME(all)(float x) { return x; }
BR_INLINE float BR_NAME(add)(float a, float b) { return a + b; }
BR_INLINE float BR_NAME(max)(float a, float b) { return a < b ? b : a; }
BR_INLINE float BR_NAME(mul)(float a, float b) { return a * b; }
BR_INLINE float BR_NAME(fma)(float sum, float a, float w) { return sum + a * w; }
BR_INLINE unsigned BR_NAME(at_least_zero)(float x) { return x >= 0; }
BR_INLINE uint32_t BR_NAME(none)(void) { return 0; }
BR_INLINE uint32_t BR_NAME(bits)(const uint32_t *w) { return *w; }
BR_INLINE uint32_t BR_NAME(every)(uint32_t a) { return a; }
/* Pairs, fours and bytes of bits are added side by side. */
BR_INLINE uint32_t BR_NAME(count)(uint32_t sum, uint32_t a, uint32_t w) {
  uint32_t x = a ^ w;
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  return sum + ((x + (x >> 4)) & 0x0f0f0f0fu);
}
BR_INLINE uint32_t BR_NAME(totals)(uint32_t sum) {
  sum = (sum & 0x00ff00ffu) + ((sum >> 8) & 0x00ff00ffu);
  return (sum + (sum >> 16)) & 0xffffu;
}
BR_INLINE uint32_t BR_NAME(sum)(uint32_t a, uint32_t b) { return a + b; }
BR_INLINE float BR_NAME(products)(int valid, uint32_t differing) { return (float)(valid - 2 * (int)differing); }
#define BR_FLIP 0
typedef int32_t BR_NAME(i);
BR_INLINE int32_t BR_NAME(same)(int32_t x) { return x; }
BR_INLINE int32_t BR_NAME(numbers)(const int32_t *x) { return *x; }
BR_INLINE int32_t BR_NAME(times)(int32_t a, int32_t b) { return a * b; }
BR_INLINE int32_t BR_NAME(dot)(int32_t sum, int32_t a, const int8_t *w) {
  int8_t x[4];
  memcpy(x, &a, sizeof x);
  return sum + x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
}
BR_INLINE float BR_NAME(real)(int32_t x) { return (float)x; }
