/* The windows of a layer in runs of pixels that meet the image alike: no kernel sees padding. */
#ifndef BR_SWEEP_H
#define BR_SWEEP_H

#include "bireal.h"

/* Output pixels `first`, `first + step`, ... whose windows have the same taps on the image: kernel rows [row0, row1)
 * and columns [column0, column1). `start` is the input element under the first of these taps for the first pixel. */
typedef struct {
  int count, row0, row1, column0, column1;
  size_t first, step;
  ptrdiff_t start, stride;
} br_run;

/* What a sweep calls for each run, and for each block of channels. */
typedef void (*br_visit)(const void *layer, const br_run *run, int block);

/* Taps of one axis that lie on the image for output `place`. */
BR_INLINE void br_taps(int place, int size, int kernel, int stride, int padding, int dilation, int *from, int *to) {
  int start = place * stride - padding;
  int first = start < 0 ? (-start + dilation - 1) / dilation : 0;
  int last = start < size ? (size - 1 - start) / dilation + 1 : 0;
  *to = last < kernel ? last : kernel;
  *from = first < *to ? first : *to;
}

/* The end of the places behind `place` that have the same taps. */
BR_INLINE int br_alike(int place, int end, int size, int kernel, int stride, int padding, int dilation) {
  int from, to, f, t;
  br_taps(place, size, kernel, stride, padding, dilation, &from, &to);
  for (place++; place < end; place++) {
    br_taps(place, size, kernel, stride, padding, dilation, &f, &t);
    if (f != from || t != to) break;
  }
  return place;
}

/* Rows [top, bottom) of the output; `pixel` is the number of elements of an input pixel. */
BR_INLINE void br_sweep_rows(const br_window *w, int pixel, int top, int bottom, br_visit visit, const void *layer,
                                 int block) {
  for (int y = top, y1; y < bottom; y = y1) {
    br_run run;
    y1 = br_alike(y, bottom, w->rows, w->kernel_rows, w->row_stride, w->top, w->row_dilation);
    br_taps(y, w->rows, w->kernel_rows, w->row_stride, w->top, w->row_dilation, &run.row0, &run.row1);
    for (int x = 0, x1; x < w->out_columns; x = x1) {
      x1 = br_alike(x, w->out_columns, w->columns, w->kernel_columns, w->column_stride, w->left, w->column_dilation);
      br_taps(x, w->columns, w->kernel_columns, w->column_stride, w->left, w->column_dilation, &run.column0,
              &run.column1);
      /* Long runs are the fast ones: along rows, columns, or over rows that continue each other. */
      const int joined = x == 0 && x1 == w->out_columns && w->row_stride * w->columns == w->out_columns * w->column_stride;
      int down = !joined && y1 - y > x1 - x;
      ptrdiff_t row = (ptrdiff_t)w->columns * pixel;
      run.count = joined ? (y1 - y) * (x1 - x) : down ? y1 - y : x1 - x;
      run.step = down ? (size_t)w->out_columns : 1;
      run.stride = down ? w->row_stride * row : (ptrdiff_t)w->column_stride * pixel;
      for (int other = down ? x : y; other < (down ? x1 : joined ? y + 1 : y1); other++) {
        int first_y = down ? y : other, first_x = down ? other : x;
        run.first = (size_t)first_y * (size_t)w->out_columns + (size_t)first_x;
        run.start = (first_y * w->row_stride - w->top + run.row0 * w->row_dilation) * row +
                    (ptrdiff_t)(first_x * w->column_stride - w->left + run.column0 * w->column_dilation) * pixel;
        visit(layer, &run, block);
      }
    }
  }
}

#ifdef _OPENMP
#include <omp.h>
#endif

/* All runs of all blocks. Threads share blocks and bands of rows, which changes no sum. */
BR_INLINE void br_sweep(const br_window *w, int pixel, int blocks, br_visit visit, const void *layer) {
#ifdef _OPENMP
  int threads = omp_get_max_threads();
  int bands = threads == 1 ? 1 : (2 * threads + blocks - 1) / blocks;
  if (bands > w->out_rows) bands = w->out_rows;
#pragma omp parallel for schedule(dynamic) if (threads > 1)
  for (int task = 0; task < blocks * bands; task++) {
    int band = task % bands;
    br_sweep_rows(w, pixel, (int)((long)w->out_rows * band / bands), (int)((long)w->out_rows * (band + 1) / bands),
                  visit, layer, task / bands);
  }
#else
  for (int block = 0; block < blocks; block++) br_sweep_rows(w, pixel, 0, w->out_rows, visit, layer, block);
#endif
}

/* Threads for work that is no sweep. */
#ifdef _OPENMP
#define BR_PARALLEL _Pragma("omp parallel for schedule(static)")
#else
#define BR_PARALLEL
#endif

#endif
