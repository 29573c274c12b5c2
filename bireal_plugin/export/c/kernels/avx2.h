/* AVX2 with FMA. See vectors.h. */
#define BR_LANES 8
#define BR_BYTES 31
typedef __m256 BR_NAME(f);
typedef __m256i BR_NAME(b);
BR_INLINE __m256 BR_NAME(load)(const float *x) { return _mm256_loadu_ps(x); }
BR_INLINE void BR_NAME(store)(float *x, __m256 v) { _mm256_storeu_ps(x, v); }
#if BR_MAPS != BR_F32
#define BR_SEES
BR_INLINE __m256 BR_NAME(see)(const br_map *x) {
  const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)x);
#if BR_MAPS == BR_F16
  return _mm256_cvtph_ps(halves);
#else
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
#endif
}
BR_INLINE void BR_NAME(keep)(br_map *x, __m256 v) {
#if BR_MAPS == BR_F16
  const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i upper = _mm256_srli_epi32(rounded, 16);
  const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
#endif
  _mm_storeu_si128((__m128i *)(void *)x, halves);
}
BR_INLINE __m256 BR_NAME(spread)(const br_map *x) {
#if BR_MAPS == BR_F16
  return _mm256_set1_ps(_cvtsh_ss(*x));
#else
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_set1_epi16((short)*x), 16));
#endif
}
#endif
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
  return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(differing), _mm256_set1_ps(2), _mm256_set1_ps((float)valid));
}
#define BR_FLIP 0
typedef __m256i BR_NAME(i);
BR_INLINE __m256i BR_NAME(same)(int32_t x) { return _mm256_set1_epi32(x); }
BR_INLINE __m256i BR_NAME(numbers)(const int32_t *x) { return _mm256_loadu_si256((const __m256i *)(const void *)x); }
BR_INLINE __m256i BR_NAME(times)(__m256i a, __m256i b) { return _mm256_mullo_epi32(a, b); }
/* |w| * a, or |w| * (-1 - a) where w is negative: no pair of products of numbers within 127 leaves 16 bits. The 1 too
 * much is what br_dot gives for bytes of 0. An instruction that gives the sign itself would wait for the multipliers. */
#define BR_DOT_OF_ZERO
BR_INLINE __m256i BR_NAME(less)(__m256i a, __m256i b) { return _mm256_sub_epi32(a, b); }
BR_INLINE __m256i BR_NAME(dot)(__m256i sum, __m256i a, const int8_t *w) {
  __m256i weight = _mm256_loadu_si256((const __m256i *)(const void *)w);
  __m256i negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), weight);
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_xor_si256(a, negative));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
BR_INLINE __m256 BR_NAME(real)(__m256i x) { return _mm256_cvtepi32_ps(x); }
