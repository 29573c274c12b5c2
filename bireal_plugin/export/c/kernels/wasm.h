/* SIMD of WebAssembly. See vectors.h. */
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
