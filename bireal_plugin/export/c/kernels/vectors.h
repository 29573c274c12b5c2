/* Vectors of one instruction set, for the kernels in `template.h`: BR_LANES numbers of 32 bits in one register.
 *
 *   br_f              floats             br_fma(sum, a, w)    sum + a * w, where the processor can in one rounding
 *   br_b              bits               br_count(sum, a, w)  adds to each lane, or to each of its bytes, the number
 *                                                             of bits in which a and w differ
 *   BR_BYTES          calls of br_count after which bytes are full (0: it adds to whole lanes)
 *   br_totals         numbers of differing bits of all lanes, as floats of `valid - 2 * differing`
 *   br_at_least_zero  one bit per float
 *   br_i              32-bit sums of 8-bit products: br_dot(sum, a, w) adds those of 4 bytes a and 4 of every lane
 *   BR_FLIP           what the instruction wants added to the bytes a
 */
#undef BR_LANES
#undef BR_BYTES
#undef BR_FLIP
#undef BR_PARTS

#if BR_ISA == BR_AVX512
#define BR_LANES 16
#define BR_BYTES 0
typedef __m512 BR_NAME(f);
typedef __m512i BR_NAME(b);
BR_INLINE __m512 BR_NAME(load)(const float *x) { return _mm512_loadu_ps(x); }
BR_INLINE void BR_NAME(store)(float *x, __m512 v) { _mm512_storeu_ps(x, v); }
BR_INLINE __m512 BR_NAME(all)(float x) { return _mm512_set1_ps(x); }
BR_INLINE __m512 BR_NAME(add)(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
BR_INLINE __m512 BR_NAME(max)(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
BR_INLINE __m512 BR_NAME(mul)(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
BR_INLINE __m512 BR_NAME(fma)(__m512 sum, __m512 a, __m512 w) { return _mm512_fmadd_ps(a, w, sum); }
BR_INLINE unsigned BR_NAME(at_least_zero)(__m512 x) {
  return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
}
BR_INLINE __m512i BR_NAME(none)(void) { return _mm512_setzero_si512(); }
BR_INLINE __m512i BR_NAME(bits)(const uint32_t *w) { return _mm512_loadu_si512(w); }
BR_INLINE __m512i BR_NAME(every)(uint32_t a) { return _mm512_set1_epi32((int)a); }
BR_INLINE __m512i BR_NAME(count)(__m512i sum, __m512i a, __m512i w) {
  return _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(a, w)));
}
BR_INLINE __m512i BR_NAME(totals)(__m512i sum) { return sum; }
BR_INLINE __m512i BR_NAME(sum)(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
BR_INLINE __m512 BR_NAME(products)(int valid, __m512i differing) {
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(valid), _mm512_slli_epi32(differing, 1)));
}
#define BR_FLIP 128
typedef __m512i BR_NAME(i);
BR_INLINE __m512i BR_NAME(same)(int32_t x) { return _mm512_set1_epi32(x); }
BR_INLINE __m512i BR_NAME(numbers)(const int32_t *x) { return _mm512_loadu_si512(x); }
BR_INLINE __m512i BR_NAME(times)(__m512i a, __m512i b) { return _mm512_mullo_epi32(a, b); }
BR_INLINE __m512i BR_NAME(dot)(__m512i sum, __m512i a, const int8_t *w) {
  return _mm512_dpbusd_epi32(sum, a, _mm512_loadu_si512(w));
}
BR_INLINE __m512 BR_NAME(real)(__m512i x) { return _mm512_cvtepi32_ps(x); }

#elif BR_ISA == BR_AVX2
#define BR_LANES 8
#define BR_BYTES 31
typedef __m256 BR_NAME(f);
typedef __m256i BR_NAME(b);
BR_INLINE __m256 BR_NAME(load)(const float *x) { return _mm256_loadu_ps(x); }
BR_INLINE void BR_NAME(store)(float *x, __m256 v) { _mm256_storeu_ps(x, v); }
BR_INLINE __m256 BR_NAME(all)(float x) { return _mm256_set1_ps(x); }
BR_INLINE __m256 BR_NAME(add)(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
BR_INLINE __m256 BR_NAME(max)(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
BR_INLINE __m256 BR_NAME(mul)(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
BR_INLINE __m256 BR_NAME(fma)(__m256 sum, __m256 a, __m256 w) { return _mm256_fmadd_ps(a, w, sum); }
BR_INLINE unsigned BR_NAME(at_least_zero)(__m256 x) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ));
}
BR_INLINE __m256i BR_NAME(none)(void) { return _mm256_setzero_si256(); }
BR_INLINE __m256i BR_NAME(bits)(const uint32_t *w) { return _mm256_loadu_si256((const __m256i *)(const void *)w); }
BR_INLINE __m256i BR_NAME(every)(uint32_t a) { return _mm256_set1_epi32((int)a); }
/* Bits of each half of a byte are looked up. */
BR_INLINE __m256i BR_NAME(count)(__m256i sum, __m256i a, __m256i w) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                         2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  __m256i x = _mm256_xor_si256(a, w);
  __m256i halves = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                                   _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
  return _mm256_add_epi8(sum, halves);
}
BR_INLINE __m256i BR_NAME(totals)(__m256i sum) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(sum, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}
BR_INLINE __m256i BR_NAME(sum)(__m256i a, __m256i b) { return _mm256_add_epi32(a, b); }
BR_INLINE __m256 BR_NAME(products)(int valid, __m256i differing) {
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(valid), _mm256_slli_epi32(differing, 1)));
}
#define BR_FLIP 0
typedef __m256i BR_NAME(i);
BR_INLINE __m256i BR_NAME(same)(int32_t x) { return _mm256_set1_epi32(x); }
BR_INLINE __m256i BR_NAME(numbers)(const int32_t *x) { return _mm256_loadu_si256((const __m256i *)(const void *)x); }
BR_INLINE __m256i BR_NAME(times)(__m256i a, __m256i b) { return _mm256_mullo_epi32(a, b); }
/* |w| * (a with the sign of w): no pair of products of numbers within 127 leaves 16 bits. */
BR_INLINE __m256i BR_NAME(dot)(__m256i sum, __m256i a, const int8_t *w) {
  __m256i weight = _mm256_loadu_si256((const __m256i *)(const void *)w);
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(a, weight));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
BR_INLINE __m256 BR_NAME(real)(__m256i x) { return _mm256_cvtepi32_ps(x); }

#elif BR_ISA == BR_NEON
#define BR_LANES 4
#define BR_BYTES 31
typedef float32x4_t BR_NAME(f);
typedef uint8x16_t BR_NAME(b);
BR_INLINE float32x4_t BR_NAME(load)(const float *x) { return vld1q_f32(x); }
BR_INLINE void BR_NAME(store)(float *x, float32x4_t v) { vst1q_f32(x, v); }
BR_INLINE float32x4_t BR_NAME(all)(float x) { return vdupq_n_f32(x); }
BR_INLINE float32x4_t BR_NAME(add)(float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }
BR_INLINE float32x4_t BR_NAME(max)(float32x4_t a, float32x4_t b) { return vmaxq_f32(a, b); }
BR_INLINE float32x4_t BR_NAME(mul)(float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); }
BR_INLINE float32x4_t BR_NAME(fma)(float32x4_t sum, float32x4_t a, float32x4_t w) {
#ifdef __ARM_FEATURE_FMA
  return vfmaq_f32(sum, a, w);
#else
  return vaddq_f32(sum, vmulq_f32(a, w));
#endif
}
BR_INLINE unsigned BR_NAME(at_least_zero)(float32x4_t x) {
  const uint32_t places[4] = {1, 2, 4, 8};
  uint32x4_t bits = vandq_u32(vcgeq_f32(x, vdupq_n_f32(0)), vld1q_u32(places));
  uint32x2_t pairs = vorr_u32(vget_low_u32(bits), vget_high_u32(bits));
  return vget_lane_u32(pairs, 0) | vget_lane_u32(pairs, 1);
}
BR_INLINE uint8x16_t BR_NAME(none)(void) { return vdupq_n_u8(0); }
BR_INLINE uint8x16_t BR_NAME(bits)(const uint32_t *w) { return vreinterpretq_u8_u32(vld1q_u32(w)); }
BR_INLINE uint8x16_t BR_NAME(every)(uint32_t a) { return vreinterpretq_u8_u32(vdupq_n_u32(a)); }
BR_INLINE uint8x16_t BR_NAME(count)(uint8x16_t sum, uint8x16_t a, uint8x16_t w) {
  return vaddq_u8(sum, vcntq_u8(veorq_u8(a, w)));
}
BR_INLINE uint8x16_t BR_NAME(totals)(uint8x16_t sum) {
  return vreinterpretq_u8_u32(vpaddlq_u16(vpaddlq_u8(sum)));
}
BR_INLINE uint8x16_t BR_NAME(sum)(uint8x16_t a, uint8x16_t b) {
  return vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
BR_INLINE float32x4_t BR_NAME(products)(int valid, uint8x16_t differing) {
  int32x4_t twice = vshlq_n_s32(vreinterpretq_s32_u8(differing), 1);
  return vcvtq_f32_s32(vsubq_s32(vdupq_n_s32(valid), twice));
}
#define BR_FLIP 0
typedef int32x4_t BR_NAME(i);
BR_INLINE int32x4_t BR_NAME(same)(int32_t x) { return vdupq_n_s32(x); }
BR_INLINE int32x4_t BR_NAME(numbers)(const int32_t *x) { return vld1q_s32(x); }
BR_INLINE int32x4_t BR_NAME(times)(int32x4_t a, int32x4_t b) { return vmulq_s32(a, b); }
BR_INLINE int32x4_t BR_NAME(dot)(int32x4_t sum, int32x4_t a, const int8_t *w) {
  int8x16_t x = vreinterpretq_s8_s32(a), weight = vld1q_s8(w);
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_s32(sum, x, weight);
#else
  int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(weight)));
  int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(x), vget_high_s8(weight)));
  int32x2_t first = vpadd_s32(vget_low_s32(low), vget_high_s32(low));
  return vaddq_s32(sum, vcombine_s32(first, vpadd_s32(vget_low_s32(high), vget_high_s32(high))));
#endif
}
BR_INLINE float32x4_t BR_NAME(real)(int32x4_t x) { return vcvtq_f32_s32(x); }

#elif BR_ISA == BR_WASM
#define BR_LANES 4
#define BR_BYTES 31
typedef v128_t BR_NAME(f);
typedef v128_t BR_NAME(b);
BR_INLINE v128_t BR_NAME(load)(const float *x) { return wasm_v128_load(x); }
BR_INLINE void BR_NAME(store)(float *x, v128_t v) { wasm_v128_store(x, v); }
BR_INLINE v128_t BR_NAME(all)(float x) { return wasm_f32x4_splat(x); }
BR_INLINE v128_t BR_NAME(add)(v128_t a, v128_t b) { return wasm_f32x4_add(a, b); }
BR_INLINE v128_t BR_NAME(max)(v128_t a, v128_t b) { return wasm_f32x4_pmax(a, b); }
BR_INLINE v128_t BR_NAME(mul)(v128_t a, v128_t b) { return wasm_f32x4_mul(a, b); }
BR_INLINE v128_t BR_NAME(fma)(v128_t sum, v128_t a, v128_t w) { return wasm_f32x4_add(sum, wasm_f32x4_mul(a, w)); }
BR_INLINE unsigned BR_NAME(at_least_zero)(v128_t x) {
  return (unsigned)wasm_i32x4_bitmask(wasm_f32x4_ge(x, wasm_f32x4_const_splat(0)));
}
BR_INLINE v128_t BR_NAME(none)(void) { return wasm_i32x4_const_splat(0); }
BR_INLINE v128_t BR_NAME(bits)(const uint32_t *w) { return wasm_v128_load(w); }
BR_INLINE v128_t BR_NAME(every)(uint32_t a) { return wasm_i32x4_splat((int)a); }
BR_INLINE v128_t BR_NAME(count)(v128_t sum, v128_t a, v128_t w) {
  return wasm_i8x16_add(sum, wasm_i8x16_popcnt(wasm_v128_xor(a, w)));
}
BR_INLINE v128_t BR_NAME(totals)(v128_t sum) {
  return wasm_u32x4_extadd_pairwise_u16x8(wasm_u16x8_extadd_pairwise_u8x16(sum));
}
BR_INLINE v128_t BR_NAME(sum)(v128_t a, v128_t b) { return wasm_i32x4_add(a, b); }
BR_INLINE v128_t BR_NAME(products)(int valid, v128_t differing) {
  return wasm_f32x4_convert_i32x4(wasm_i32x4_sub(wasm_i32x4_splat(valid), wasm_i32x4_shl(differing, 1)));
}
#define BR_FLIP 0
typedef v128_t BR_NAME(i);
BR_INLINE v128_t BR_NAME(same)(int32_t x) { return wasm_i32x4_splat(x); }
BR_INLINE v128_t BR_NAME(numbers)(const int32_t *x) { return wasm_v128_load(x); }
BR_INLINE v128_t BR_NAME(times)(v128_t a, v128_t b) { return wasm_i32x4_mul(a, b); }
BR_INLINE v128_t BR_NAME(dot)(v128_t sum, v128_t a, const int8_t *w) {
  v128_t weight = wasm_v128_load(w);
  v128_t low = wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extmul_low_i8x16(a, weight));
  v128_t high = wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extmul_high_i8x16(a, weight));
  v128_t even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  return wasm_i32x4_add(sum, wasm_i32x4_add(even, odd));
}
BR_INLINE v128_t BR_NAME(real)(v128_t x) { return wasm_f32x4_convert_i32x4(x); }

#else /* any other processor, word by word */
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
#endif

#define BR_PARTS (BR_BLOCK / BR_LANES)
