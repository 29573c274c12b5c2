/* The kernels of one instruction set, as BR_TABLE; included with BR_BINARY_CONV set, too. */
static const br_kernels_t BR_TABLE = {
#ifdef BR_HAS_BINARY_CONV
    .binary_conv = BR_BINARY_CONV,
#endif
#ifdef BR_HAS_CONV
    .conv = BR_NAME(conv),
#endif
#ifdef BR_HAS_CONV_WINOGRAD
    .conv_winograd = BR_NAME(conv_winograd),
#endif
#ifdef BR_HAS_CONV_INT8
    .quantize = BR_NAME(quantize),
    .conv_int8 = BR_NAME(conv_int8),
#endif
#ifdef BR_HAS_MAX_POOL
    .max_pool = BR_NAME(max_pool),
#endif
#ifdef BR_HAS_AVERAGE_POOL
    .average_pool = BR_NAME(average_pool),
#endif
#ifdef BR_HAS_MAP
    .map = BR_NAME(map),
#endif
#ifdef BR_HAS_NEAREST
    .nearest = BR_NAME(nearest),
#endif
#ifdef BR_HAS_BILINEAR
    .bilinear = BR_NAME(bilinear),
#endif
};
