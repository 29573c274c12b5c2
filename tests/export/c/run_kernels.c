/* Runs one kernel after the other on what stands on the standard input, for `test_kernels.py`.
 * A case: kernel, argument, a br_window, and then arrays of 32-bit numbers, each behind its length: x, weights, scale,
 * bias, sign shift, weight sums; the number of steps, and of each operation, shape, number and array. An array of length -1 is null.
 * The answer is the output and its sign map. */
#define BR_HAS_BINARY_CONV
#define BR_HAS_CONV
#define BR_HAS_CONV_WINOGRAD
#define BR_HAS_CONV_INT8
#define BR_HAS_MAX_POOL
#define BR_HAS_AVERAGE_POOL
#define BR_HAS_MAP
#define BR_HAS_NEAREST
#define BR_HAS_BILINEAR
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

static int number(int *value) { return fread(value, sizeof *value, 1, stdin) == 1; }

/* An array that ends where its last element does, so that a sanitizer sees a kernel that reads on. */
static void *array(void) {
  int length = -1;
  if (!number(&length) || length < 0) return NULL;
  float *values = malloc((size_t)length * sizeof *values + (length == 0));
  if (!values || fread(values, sizeof *values, (size_t)length, stdin) != (size_t)length) exit(2);
  return values;
}

int main(void) {
  const br_kernels_t *kernels = br_kernels();
  int kernel, argument;
  if (!kernels) return 3;
  while (number(&kernel) && number(&argument)) {
    br_window w;
    br_step steps[8];
    int count;
    if (fread(&w, sizeof w, 1, stdin) != 1) return 2;
    void *x = array(), *weights = array(), *scale = array(), *bias = array(), *shift = array(), *sums = array();
    if (!number(&count)) return 2;
    for (int s = 0; s < count; s++) {
      int operation, shape;
      if (!number(&operation) || !number(&shape) || fread(&steps[s].a, sizeof steps[s].a, 1, stdin) != 1) return 2;
      steps[s].operation = (br_operation)operation;
      steps[s].shape = (br_shape)shape;
      steps[s].values = array();
    }
    const int groups = kernel == 4 ? w.groups : 1, inside = w.out_channels / groups;
    const size_t pixels = (size_t)w.out_rows * (size_t)w.out_columns;
    const size_t words = pixels * (size_t)(groups * ((inside + BR_WORD - 1) / BR_WORD));
    const size_t size = pixels * (size_t)w.out_channels;
    float *out = malloc(size * sizeof *out);
    uint32_t *signs = malloc(words * sizeof *signs);
    if (!out || !signs) return 2;
    memset(signs, 0xa5, words * sizeof *signs);
    const br_tail tail = {steps, count, out, signs, shift};
    switch (kernel) {
      case 0: kernels->binary_conv(&w, x, weights, scale, bias, &tail); break;
      case 1: kernels->conv(&w, x, weights, bias, &tail); break;
      case 2: kernels->max_pool(&w, x, &tail); break;
      case 3: kernels->average_pool(&w, x, argument, &tail); break;
      case 4: kernels->map((int)pixels, w.channels, groups, x, &tail); break;
      case 5: kernels->nearest(&w, x, &tail); break;
      case 6: kernels->bilinear(&w, x, argument, &tail); break;
      case 7: { /* steps of 1 / 16 and a zero at `argument` */
        uint8_t *bytes = malloc(br_bytes(&w));
        if (!bytes) return 2;
        kernels->quantize(&w, x, 0.0625f, argument, bytes);
        kernels->conv_int8(&w, bytes, argument, weights, sums, scale, bias, &tail);
        free(bytes);
        break;
      }
      case 8: kernels->conv_winograd(&w, x, weights, bias, &tail); break;
    }
    fwrite(out, sizeof *out, size, stdout);
    fwrite(signs, sizeof *signs, words, stdout);
    fflush(stdout);
    for (int s = 0; s < count; s++) free((void *)(uintptr_t)steps[s].values);
    free(x), free(weights), free(scale), free(bias), free(shift), free(sums), free(out), free(signs);
  }
  return 0;
}
