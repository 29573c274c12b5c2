/* Runs the network `net` on images from the standard input, floats or with an argument bytes; outputs go to stdout. */
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

#define PIXELS (NET_IMAGES * NET_INPUT_CHANNELS * NET_INPUT_ROWS * NET_INPUT_COLUMNS)

int main(int count, char **arguments) {
  float *image = malloc(PIXELS * sizeof(float)), *output = malloc(NET_OUTPUT_FLOATS * sizeof(float));
  uint8_t *bytes = malloc(PIXELS);
  size_t whole = (NET_WORKSPACE_BYTES + NET_WORKSPACE_ALIGNMENT - 1) / NET_WORKSPACE_ALIGNMENT * NET_WORKSPACE_ALIGNMENT;
  void *memory = aligned_alloc(NET_WORKSPACE_ALIGNMENT, whole);
  int code = 0;
  (void)arguments;
  if (count == 1)
    while (!code && fread(image, sizeof(float), PIXELS, stdin) == PIXELS) {
      code = net_run(image, output, memory);
      fwrite(output, sizeof(float), NET_OUTPUT_FLOATS, stdout);
    }
#ifdef NET_MEAN
  else
    while (!code && fread(bytes, 1, PIXELS, stdin) == PIXELS) {
      code = net_run_u8(bytes, output, memory);
      fwrite(output, sizeof(float), NET_OUTPUT_FLOATS, stdout);
    }
#endif
  free(image), free(output), free(bytes), free(memory);
  return code;
}
