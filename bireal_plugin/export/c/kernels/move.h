/* Data movement around the kernels, in plain C: strided copies, and images of bytes. */
#ifndef BR_MOVE_H
#define BR_MOVE_H

#include "bands.h"
#include "bireal.h"

#define BR_DIMENSIONS 5

/* A copy of `sizes` elements, dimension by dimension; strides are in elements, and may be 0 or negative. */
typedef struct {
  int sizes[BR_DIMENSIONS];
  ptrdiff_t from[BR_DIMENSIONS], to[BR_DIMENSIONS];
} br_walk;

#define BR_MOVE(name, source_type, target_type, convert)                                      \
  BR_INLINE void name(const br_walk *w, const source_type *x, target_type *out) {             \
    const int *n = w->sizes;                                                                  \
    const ptrdiff_t *f = w->from, *t = w->to, from = f[4], to = t[4];                         \
    for (int a = 0; a < n[0]; a++)                                                            \
      for (int b = 0; b < n[1]; b++)                                                          \
        for (int c = 0; c < n[2]; c++)                                                        \
          for (int d = 0; d < n[3]; d++) {                                                    \
            const source_type *source = x + a * f[0] + b * f[1] + c * f[2] + d * f[3];        \
            target_type *target = out + a * t[0] + b * t[1] + c * t[2] + d * t[3];            \
            if (from == 1 && to == 1 && sizeof *x == sizeof *out)                             \
              memcpy(target, source, (size_t)n[4] * sizeof *out);                             \
            else                                                                              \
              for (int e = 0; e < n[4]; e++) target[e * to] = convert(source[e * from]);      \
          }                                                                                   \
  }

#define BR_SAME(x) (x)
BR_MOVE(br_move, br_map, br_map, BR_SAME)     /* from one feature map to another */
BR_MOVE(br_enter, float, br_map, br_nearest)  /* from the network's input */
BR_MOVE(br_leave, br_map, float, br_number)   /* to an output of the network */

/* (pixels, channels) of bytes to (byte - mean) / std, each rounded once. */
BR_INLINE void br_normalise(int pixels, int channels, const uint8_t *x, const float *mean, const float *std,
                            br_map *out) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c++, x++, out++) *out = br_nearest(((float)*x - mean[c]) / std[c]);
}

#endif
