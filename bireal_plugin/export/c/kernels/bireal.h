/* Data that the kernels of a 1-bit network share. C11; needs two's complement and little-endian words.
 *
 * Feature maps hold br_map, float32 unless BR_MAPS says otherwise, as (rows, columns, channels). Sign maps hold, in the same order, one run of
 * 32-bit words for each group of channels: bit i % 32 of word i / 32 is channel i of the group, 1 for +1 (a value of
 * exactly 0 too) and 0 for -1; bits behind the last channel are 0.
 *
 * Kernels allocate nothing and keep nothing between calls. A kernel writes what it computes through a `br_tail`. */
#ifndef BR_BIREAL_H
#define BR_BIREAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define BR_INLINE static inline __attribute__((unused, always_inline))
#else
#define BR_INLINE static inline
#endif

#include "half.h"

/* Output channels that are computed together: kernels' weights are stored in blocks of as many channels. */
#define BR_BLOCK 16
#define BR_WORD 32

/* Windows of a convolution or of a pool. `top` and `left` pixels of padding stand before the image; behind it there
 * are as many as the output's size needs. */
typedef struct {
  int rows, columns, channels;             /* of the input */
  int out_rows, out_columns, out_channels; /* of the output */
  int kernel_rows, kernel_columns;
  int row_stride, column_stride, top, left, row_dilation, column_dilation;
  int groups;
} br_window;

/* Steps from a sum to the stored value, in the order in which they are applied. An operand is one number `a`, or an
 * array: BR_CHANNEL has one float per channel, BR_PIXEL one br_map per pixel, BR_MAP one per element of the output. */
typedef enum { BR_NUMBER, BR_CHANNEL, BR_PIXEL, BR_MAP } br_shape;
typedef enum {
  BR_ADD,     /* x + v */
  BR_SUB,     /* x - v */
  BR_RSUB,    /* v - x */
  BR_MUL,     /* x * v */
  BR_DIV,     /* x / v */
  BR_RDIV,    /* v / x */
  BR_MAX,     /* max(x, v) */
  BR_MIN,     /* min(x, v) */
  BR_PRELU,   /* x if x > 0, else v x */
  BR_ELU,     /* x if x > 0, else exp(x) - 1 */
  BR_SIGMOID, /* 1 / (1 + exp(-x)) */
  BR_TANH,    /* tanh(x) */
  BR_EXP,     /* exp(x) */
  BR_ABS,     /* |x| */
} br_operation;

typedef struct {
  br_operation operation;
  br_shape shape;
  const void *values; /* null for BR_NUMBER and for operations without an operand */
  float a;
} br_step;

/* What becomes of a kernel's sums. */
typedef struct {
  const br_step *steps;
  int count;
  br_map *out;             /* (rows, columns, channels), or null */
  uint32_t *signs;         /* the sign map of the result, one group, or null; null if a convolution has groups of
                            * outputs that are no multiple of BR_BLOCK */
  const float *sign_shift; /* per channel, added before the sign alone; or null */
} br_tail;

/* The kernels of one instruction set; `br_kernels()` gives those of the processor that runs. Weights of convolutions
 * are arranged by `layout.py`:
 *
 *   1-bit    uint32 [group][ceil(O / 16)][kernel row][kernel column][word][16]
 *   float32  float  [group][ceil(O / 16)][kernel row][kernel column][channel][16]
 *   winograd float  [ceil(O / 16)][product][kernel row][channel][16], see winograd.h
 *   int8     int8_t [ceil(O / 16)][kernel row][ceil(kernel columns * channels / 4)][16][4], without groups; with a
 *            column dilation [ceil(O / 16)][kernel row][kernel column][ceil(channels / 4)][16][4]
 *
 * with O output channels and words and channels of one group; missing outputs and inputs have weights of 0. */
typedef struct {
  /* Sums of +-1 products: sum * scale + bias, each rounded once, and then the tail. No padding is seen. */
  void (*binary_conv)(const br_window *, const uint32_t *signs, const uint32_t *weights, const float *scale,
                      const float *bias, const br_tail *);
  /* A real convolution or, with one pixel, a linear layer; `bias` may be null. */
  void (*conv)(const br_window *, const br_map *x, const float *weights, const float *bias, const br_tail *);
  /* The same with windows of 7 columns and up to 7 rows that move by 2 columns, without dilation or groups, of up to 4
   * channels. */
  void (*conv_winograd)(const br_window *, const br_map *x, const float *weights, const float *bias, const br_tail *);
  /* x in 8 bits, round(x / scale) + zero within -127 and 127, with the padding of the window around it, for
   * conv_int8; `br_bytes(w)` bytes, in a form that depends on the instruction set. */
  void (*quantize)(const br_window *, const br_map *x, float scale, int zero, uint8_t *bytes);
  /* Sums of 8-bit products: sum(w (q - zero)) * scale + bias; `weight_sums` holds those of each output's weights. */
  void (*conv_int8)(const br_window *, const uint8_t *bytes, int zero, const int8_t *weights,
                    const int32_t *weight_sums, const float *scale, const float *bias, const br_tail *);
  void (*max_pool)(const br_window *, const br_map *x, const br_tail *);
  /* The mean over the windows: of their pixels on the image, or with `padded` of all pixels on image and padding. */
  void (*average_pool)(const br_window *, const br_map *x, int padded, const br_tail *);
  /* The tail alone, on (pixels, channels); it may store where it reads. `groups` is that of the sign map. */
  void (*map)(int pixels, int channels, int groups, const br_map *x, const br_tail *);
  /* Resizing by whole factors, or bilinearly as PyTorch does, from (rows, columns) to (out_rows, out_columns). */
  void (*nearest)(const br_window *, const br_map *x, const br_tail *);
  void (*bilinear)(const br_window *, const br_map *x, int align_corners, const br_tail *);
} br_kernels_t;

/* Rows and columns of an image with the padding that the windows reach. */
#define br_reached_rows(w) (((w)->out_rows - 1) * (w)->row_stride + ((w)->kernel_rows - 1) * (w)->row_dilation + 1)
#define br_reached_columns(w) \
  (((w)->out_columns - 1) * (w)->column_stride + ((w)->kernel_columns - 1) * (w)->column_dilation + 1)

/* Size of what `quantize` writes; the last window may be read in whole words. */
#define br_bytes(w) ((size_t)br_reached_rows(w) * (size_t)br_reached_columns(w) * (size_t)(w)->channels + 3)

#endif
