/* The kernels, written once for every instruction set: `kernels.h` includes this file with BR_ISA and BR_NAME set. */
#undef F
#undef B
#undef BR_PIECES
#undef BR_SHARED
#include "vectors.h"

#define F BR_NAME(f)
#define B BR_NAME(b)

#include "tail.h"
#include "binary_conv.h"
#include "conv.h"
#include "winograd.h"
#include "conv_int8.h"
#include "maps.h"

#define BR_TABLE BR_NAME(kernels)
#if BR_ISA == BR_AVX2
#include "lookup.h"
#define BR_BINARY_CONV br_binary_conv_lookup
#else
#define BR_BINARY_CONV BR_NAME(binary_conv)
#endif
#include "table.h"
#undef BR_TABLE
#undef BR_BINARY_CONV
