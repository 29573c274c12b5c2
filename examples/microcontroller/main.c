/* Classify the images of a file: float32 numbers, normalised, one image after the other. One class per line comes out. */
#include "digits.h"

#include <stdio.h>

static float image[DIGITS_INPUT_CHANNELS * DIGITS_INPUT_ROWS * DIGITS_INPUT_COLUMNS];
static float scores[DIGITS_OUTPUT_FLOATS];
static _Alignas(64) unsigned char workspace[DIGITS_WORKSPACE_BYTES];

int main(void) {
  FILE *images = fopen("images.bin", "rb"), *classes = fopen("classes.txt", "w");
  if (!images || !classes) return 1;
  while (fread(image, sizeof image, 1, images) == 1) {
    int best = 0;
    if (digits_run(image, scores, workspace)) return 2;
    for (int i = 1; i < DIGITS_OUTPUT_FLOATS; i++)
      if (scores[i] > scores[best]) best = i;
    fprintf(classes, "%d\n", best);
  }
  return fclose(classes) ? 3 : 0;
}
