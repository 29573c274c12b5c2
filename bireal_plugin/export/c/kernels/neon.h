/* NEON, of ARM. See vectors.h. */
#define BR_LANES 4
#define BR_BYTES 31
typedef float32x4_t BR_NAME(f);
typedef uint8x16_t BR_NAME(b);
BR_INLINE float32x4_t BR_NAME(load)(const float *x) { return vld1q_f32(x); }
BR_INLINE void BR_NAME(store)(float *x, float32x4_t v) { vst1q_f32(x, v); }
#if BR_MAPS == BR_BF16 || (BR_MAPS == BR_F16 && defined(__aarch64__))
#define BR_SEES
BR_INLINE float32x4_t BR_NAME(see)(const br_map *x) {
#if BR_MAPS == BR_F16
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
#else
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x), 16));
#endif
}
BR_INLINE void BR_NAME(keep)(br_map *x, float32x4_t v) {
#if BR_MAPS == BR_F16
  vst1_u16(x, vreinterpret_u16_f16(vcvt_f16_f32(v)));
#else
  const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  vst1_u16(x, vshrn_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16));
#endif
}
BR_INLINE float32x4_t BR_NAME(spread)(const br_map *x) {
#if BR_MAPS == BR_F16
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(x)));
#else
  return vdupq_n_f32(br_number(*x));
#endif
}
#endif
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
