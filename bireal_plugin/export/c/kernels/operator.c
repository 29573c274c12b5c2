/* `bireal::binary_conv2d` on float32 tensors of PyTorch, (N, C, H, W) in either memory format. */
#define BR_HAS_BINARY_CONV
#define BR_HAS_MAP
#include "kernels.h"

/* Signs of (C, H, W); the kernels' own order is the other one. */
static void signs_of_planes(const br_window *w, const float *x, uint32_t *signs) {
  const int pixels = w->rows * w->columns, inside = w->channels / w->groups;
  const int words = (inside + BR_WORD - 1) / BR_WORD;
  BR_PARALLEL
  for (int word = 0; word < words * w->groups; word++) {
    const int group = word / words, from = word % words * BR_WORD;
    const int count = inside - from < BR_WORD ? inside - from : BR_WORD;
    for (int start = 0; start < pixels; start += 64) {
      const int part = pixels - start < 64 ? pixels - start : 64;
      uint32_t bits[64] = {0};
      for (int i = 0; i < count; i++) {
        const float *plane = x + (size_t)(group * inside + from + i) * (size_t)pixels + start;
        for (int p = 0; p < part; p++) bits[p] |= (uint32_t)(plane[p] >= 0) << i;
      }
      for (int p = 0; p < part; p++) signs[(size_t)(start + p) * (size_t)(words * w->groups) + (size_t)word] = bits[p];
    }
  }
}

/* (H, W, C) to (C, H, W). */
static void planes_of(const br_window *w, const float *x, float *y) {
  const int pixels = w->out_rows * w->out_columns, channels = w->out_channels;
  BR_PARALLEL
  for (int start = 0; start < pixels; start += 16)
    for (int c = 0; c < channels; c++)
      for (int p = start; p < start + 16 && p < pixels; p++)
        y[(size_t)c * (size_t)pixels + (size_t)p] = x[(size_t)p * (size_t)channels + (size_t)c];
}

/* `signs` has room for the sign map of one image, and `map` for its output if `planes` is set: tensors are contiguous
 * then, and in channels_last otherwise. Returns 0, or 1 where no kernel runs on this processor. */
int binary_conv2d(const br_window *w, int images, int planes, const float *x, const uint32_t *weights,
                  const float *scale, const float *bias, uint32_t *signs, float *map, float *y) {
  const br_kernels_t *kernels = br_kernels();
  const size_t in = (size_t)w->rows * (size_t)w->columns * (size_t)w->channels;
  const size_t out = (size_t)w->out_rows * (size_t)w->out_columns * (size_t)w->out_channels;
  if (!kernels) return 1;
  for (int image = 0; image < images; image++, x += in, y += out) {
    const br_tail to_signs = {NULL, 0, NULL, signs, NULL}, to_map = {NULL, 0, planes ? map : y, NULL, NULL};
    if (planes)
      signs_of_planes(w, x, signs);
    else
      kernels->map(w->rows * w->columns, w->channels, w->groups, x, &to_signs);
    kernels->binary_conv(w, signs, weights, scale, bias, &to_map);
    if (planes) planes_of(w, map, y);
  }
  return 0;
}
