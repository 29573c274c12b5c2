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
 *   BR_DOT_OF_ZERO    br_dot(0, 0, w) is not 0 and must be taken off, by br_less
 */
#undef BR_LANES
#undef BR_BYTES
#undef BR_FLIP
#undef BR_DOT_OF_ZERO
#undef BR_PARTS

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
