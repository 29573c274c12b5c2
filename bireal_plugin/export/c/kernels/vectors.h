/* Vectors of one instruction set, for the kernels in `template.h`: BR_LANES numbers of 32 bits in one register.
 *
 *   br_f              floats             br_fma(sum, a, w)    sum + a * w, where the processor can in one rounding
 *   br_b              bits               br_count(sum, a, w)  adds to each lane, or to each of its bytes, the number
 *                                                             of bits in which a and w differ
 *   BR_BYTES          calls of br_count after which bytes are full (0: it adds to whole lanes)
 *   br_totals         numbers of differing bits of all lanes, as floats of `valid - 2 * differing`
 *   br_at_least_zero  one bit per float
 *   br_i              32-bit sums of 8-bit products: br_dot(sum, a, w) adds those of 4 bytes a and 4 of every lane
 *   br_see, br_keep   numbers of a feature map, read and stored; with BR_MAPS, where the processor has instructions
 *                     for these, BR_SEES is defined, and br_spread gives one number in all lanes
 *   BR_FLIP           what the instruction wants added to the bytes a
 *   BR_DOT_OF_ZERO    br_dot(0, 0, w) is not 0 and must be taken off, by br_less
 */
#undef BR_LANES
#undef BR_BYTES
#undef BR_FLIP
#undef BR_DOT_OF_ZERO
#undef BR_PARTS
#undef BR_SEES

#if BR_ISA == BR_AVX512
#include "avx512.h"
#elif BR_ISA == BR_AVX2
#include "avx2.h"
#elif BR_ISA == BR_NEON
#include "neon.h"
#elif BR_ISA == BR_WASM
#include "wasm.h"
#else
#include "scalar.h"
#endif

#define BR_PARTS (BR_BLOCK / BR_LANES)

#ifndef BR_SEES
BR_INLINE BR_NAME(f) BR_NAME(see)(const br_map *x) {
#if BR_MAPS == BR_F32
  return BR_NAME(load)(x);
#else
  float v[BR_LANES];
  for (int i = 0; i < BR_LANES; i++) v[i] = br_number(x[i]);
  return BR_NAME(load)(v);
#endif
}
BR_INLINE void BR_NAME(keep)(br_map *x, BR_NAME(f) values) {
#if BR_MAPS == BR_F32
  BR_NAME(store)(x, values);
#else
  float v[BR_LANES];
  BR_NAME(store)(v, values);
  for (int i = 0; i < BR_LANES; i++) x[i] = br_nearest(v[i]);
#endif
}
BR_INLINE BR_NAME(f) BR_NAME(spread)(const br_map *x) { return BR_NAME(all)(br_number(*x)); }
#endif

/* Numbers as a feature map has them. */
BR_INLINE BR_NAME(f) BR_NAME(nearest_map)(BR_NAME(f) values) {
#if BR_MAPS == BR_F32
  return values;
#else
  br_map x[BR_LANES];
  BR_NAME(keep)(x, values);
  return BR_NAME(see)(x);
#endif
}

/* `count` numbers of a feature map as floats: where they are, or in `copy`. */
BR_INLINE const float *BR_NAME(floats)(const br_map *x, int count, float *copy) {
#if BR_MAPS == BR_F32
  (void)count, (void)copy;
  return x;
#else
  int i = 0;
  for (; i + BR_LANES <= count; i += BR_LANES) BR_NAME(store)(copy + i, BR_NAME(see)(x + i));
  for (; i < count; i++) copy[i] = br_number(x[i]);
  return copy;
#endif
}
