/* A convolution and the pool behind it, some rows of the result after the others: what lies between them stays in the
 * cache, and memory holds those rows of it alone. */
#ifndef BR_BANDS_H
#define BR_BANDS_H

#include "bireal.h"

/* The windows of one band, and where the convolution goes on: at row `from` of the map between, behind the `kept` rows
 * that the band before needed too. */
typedef struct {
  br_window conv, pool;
  int from, kept;
} br_band;

/* The rows of the map between that `count` rows of the pool see from row `row` on. */
BR_INLINE void br_band_rows(const br_window *pool, int row, int count, int *first, int *end) {
  *first = row * pool->row_stride - pool->top;
  *end = *first + (count - 1) * pool->row_stride + (pool->kernel_rows - 1) * pool->row_dilation + 1;
  if (*first < 0) *first = 0;
  if (*end > pool->rows) *end = pool->rows;
}

/* The band of up to `count` rows from row `row` on, a multiple of it; rows to keep move to the front of `between`. */
BR_INLINE br_band br_banded(const br_window *conv, const br_window *pool, int row, int count, br_map *between) {
  br_band band = {*conv, *pool, 0, 0};
  const size_t width = (size_t)conv->out_columns * (size_t)conv->out_channels;
  int first, end, before, done = 0;
  band.pool.out_rows = pool->out_rows - row < count ? pool->out_rows - row : count;
  br_band_rows(pool, row, band.pool.out_rows, &first, &end);
  if (row > 0) {
    br_band_rows(pool, row - count, count, &before, &done);
    if (done > first) {
      band.kept = done - first;
      memmove(between, between + (size_t)(first - before) * width, (size_t)band.kept * width * sizeof(br_map));
    }
  }
  band.from = first + band.kept;
  band.conv.out_rows = end - band.from;
  band.conv.top = conv->top - band.from * conv->row_stride;
  band.pool.rows = end - first;
  band.pool.top = pool->top + first - row * pool->row_stride;
  return band;
}

#endif
