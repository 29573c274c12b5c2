/* AVX-512 with VPOPCNTDQ and VNNI. See vectors.h. */
#define BR_LANES 16
#define BR_BYTES 0
typedef __m512 BR_NAME(f);
typedef __m512i BR_NAME(b);
BR_INLINE __m512 BR_NAME(load)(const float *x) { return _mm512_loadu_ps(x); }
BR_INLINE void BR_NAME(store)(float *x, __m512 v) { _mm512_storeu_ps(x, v); }
#if BR_MAPS != BR_F32
#define BR_SEES
BR_INLINE __m512 BR_NAME(see)(const br_map *x) {
  const __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)x);
#if BR_MAPS == BR_F16
  return _mm512_cvtph_ps(halves);
#else
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
#endif
}
BR_INLINE void BR_NAME(keep)(br_map *x, __m512 v) {
#if BR_MAPS == BR_F16
  const __m256i halves = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
  _mm256_storeu_si256((__m256i *)(void *)x, halves);
}
BR_INLINE __m512 BR_NAME(spread)(const br_map *x) {
#if BR_MAPS == BR_F16
  return _mm512_set1_ps(_cvtsh_ss(*x));
#else
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_set1_epi16((short)*x), 16));
#endif
}
#endif
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
  return _mm512_fnmadd_ps(_mm512_cvtepi32_ps(differing), _mm512_set1_ps(2), _mm512_set1_ps((float)valid));
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
