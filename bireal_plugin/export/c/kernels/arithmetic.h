/* Elementary functions, in single precision and without the C library: relative errors below 2^-22. */
#ifndef BR_ARITHMETIC_H
#define BR_ARITHMETIC_H

#include "bireal.h"

/* x = n log(2) + r: 2^n, and exp(r) - 1 as `*rest`. x is taken within -88 and 88, where floats have exp(x). */
BR_INLINE float br_power(float x, float *rest) {
  const float least = -88, most = 88;
  float bounded = x < least ? least : x > most ? most : x;
  int n = (int)(bounded * 1.44269504f + (bounded < 0 ? -0.5f : 0.5f));
  /* log(2) in two parts, of which the first has few digits, so that n times it is exact. */
  float r = (bounded - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
  float series = r * r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f + r * (1.38888889e-3f +
                 r * 1.98412698e-4f)))));
  int32_t bits = (n + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  *rest = r + series;
  return power;
}

BR_INLINE float br_exp(float x) {
  float rest, power = br_power(x, &rest);
  return power + power * rest;
}

/* exp(x) - 1, with the sign of x for the smallest x too. */
BR_INLINE float br_expm1(float x) {
  float rest, power = br_power(x, &rest);
  return power * rest + (power - 1);
}

BR_INLINE float br_tanh(float x) {
  float bounded = x > 10 ? 10 : x < -10 ? -10 : x;
  float e = br_expm1(2 * bounded);
  return e / (e + 2);
}

/* Pixels of a pool's window that lie on the image or on its padding. */
BR_INLINE int br_padded_axis(int place, int size, int kernel, int stride, int padding) {
  int start = place * stride - padding, end = start + kernel, last = size + padding;
  return (end < last ? end : last) - start;
}

BR_INLINE int br_padded_taps(const br_window *w, size_t pixel) {
  int row = (int)(pixel / (size_t)w->out_columns), column = (int)(pixel % (size_t)w->out_columns);
  return br_padded_axis(row, w->rows, w->kernel_rows, w->row_stride, w->top) *
         br_padded_axis(column, w->columns, w->kernel_columns, w->column_stride, w->left);
}

/* The places of the input between which a place of the output lies, and the share of the second. */
typedef struct {
  int first, second;
  float share;
} br_between;

BR_INLINE br_between br_source(int place, int size, int out, int bilinear, int align_corners) {
  br_between at = {0, 0, 0};
  float source;
  if (!bilinear) {
    at.first = (int)((long long)place * size / out);
    return at;
  }
  if (align_corners)
    source = out > 1 ? (float)place * ((float)(size - 1) / (float)(out - 1)) : 0;
  else
    source = ((float)place + 0.5f) * ((float)size / (float)out) - 0.5f;
  if (source < 0) source = 0;
  at.first = (int)source;
  at.second = at.first + (at.first < size - 1);
  at.share = source - (float)at.first;
  return at;
}

#endif
