/* Numbers of feature maps. With BR_MAPS they have 16 bits in memory, and are computed with in float32. */
#ifndef BR_HALF_H
#define BR_HALF_H

#include <stdint.h>
#include <string.h>

#define BR_F32 0
#define BR_F16 1
#define BR_BF16 2
#ifndef BR_MAPS
#define BR_MAPS BR_F32
#endif
#define BR_COPIED 256 /* numbers that are made floats at a time, where a kernel wants many */

#if BR_MAPS == BR_F32
typedef float br_map;
BR_INLINE float br_number(br_map x) { return x; }
BR_INLINE br_map br_nearest(float x) { return x; }
#else
typedef uint16_t br_map;

BR_INLINE float br_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

BR_INLINE uint32_t br_float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Ties go to the even neighbour. */
#if BR_MAPS == BR_BF16
BR_INLINE float br_number(br_map x) { return br_float((uint32_t)x << 16); }
BR_INLINE br_map br_nearest(float x) {
  const uint32_t bits = br_float_bits(x);
  return (br_map)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
#else
/* Exponents of float32 are 112 above those of half precision; its largest is that of infinity. */
BR_INLINE float br_number(br_map x) {
  const uint32_t magnitude = (uint32_t)(x & 0x7fff) << 13, sign = (uint32_t)(x & 0x8000) << 16;
  const float scaled = br_float(magnitude) * 0x1p112f;
  return br_float((magnitude < 0x7c00u << 13 ? br_float_bits(scaled) : magnitude | 0x7f800000u) | sign);
}

BR_INLINE br_map br_nearest(float x) {
  const uint32_t bits = br_float_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (br_map)(sign | 0x7e00u);  /* NaN */
  if (magnitude >= 0x477ff000u) return (br_map)(sign | 0x7c00u); /* beyond 65520: infinity */
  if (magnitude < 0x38800000u) /* below 2^-14: in units of 2^-24, the last place of numbers from 1/2 to 1 */
    return (br_map)(sign | (br_float_bits(br_float(magnitude) + 0.5f) - 0x3f000000u));
  return (br_map)(sign | ((magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13));
}
#endif
#endif

#endif
