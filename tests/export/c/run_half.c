/* Numbers of feature maps, one by one and then by vectors, each time to the standard output: all 16-bit patterns as
 * floats, and floats from the standard input as 16 bits. */
#include <stdio.h>

#define BR_HAS_MAP
#include "kernels.h"

#define PATTERNS 65536
#define CHANNELS 32

static float numbers[PATTERNS];
static br_map patterns[PATTERNS], ones[CHANNELS];

int main(void) {
  const br_kernels_t *kernels = br_kernels();
  for (int i = 0; i < CHANNELS; i++) ones[i] = br_nearest(1);
  for (int i = 0; i < PATTERNS; i++) patterns[i] = (br_map)i, numbers[i] = br_number((br_map)i);
  fwrite(numbers, sizeof(float), PATTERNS, stdout);
  const br_step nothing = {BR_MUL, BR_NUMBER, NULL, 1};
  const br_tail same = {&nothing, 1, patterns, NULL, NULL};
  kernels->map(PATTERNS / CHANNELS, CHANNELS, 1, patterns, &same);
  fwrite(patterns, sizeof(br_map), PATTERNS, stdout);
  while (fread(numbers, sizeof(float), PATTERNS, stdin) == PATTERNS) {
    for (int i = 0; i < PATTERNS; i++) patterns[i] = br_nearest(numbers[i]);
    fwrite(patterns, sizeof(br_map), PATTERNS, stdout);
    for (int i = 0; i < PATTERNS; i += CHANNELS) {
      const br_step step = {BR_MUL, BR_CHANNEL, numbers + i, 0};
      const br_tail tail = {&step, 1, patterns + i, NULL, NULL};
      kernels->map(1, CHANNELS, 1, ones, &tail);
    }
    fwrite(patterns, sizeof(br_map), PATTERNS, stdout);
  }
  return 0;
}
