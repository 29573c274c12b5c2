/* The kernels of every instruction set of the target, and the choice between them.
 *
 * Define BR_HAS_BINARY_CONV, BR_HAS_CONV, BR_HAS_CONV_WINOGRAD, BR_HAS_CONV_INT8, BR_HAS_MAX_POOL, BR_HAS_AVERAGE_POOL,
 * BR_HAS_MAP, BR_HAS_NEAREST and BR_HAS_BILINEAR before including this file, for those in use. -DBR_ONLY=BR_PORTABLE
 * (or BR_AVX2, BR_AVX512, BR_NEON, BR_WASM) leaves one instruction set. */
#ifndef BR_KERNELS_H
#define BR_KERNELS_H

/* One rounding per operation, as in PyTorch: no sum of a product in one step, but where a kernel asks for it. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__) && !defined(__STRICT_ANSI__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "arithmetic.h"
#include "sweep.h"

#include <math.h> /* INFINITY alone */

#if defined(BR_HAS_MAX_POOL) || defined(BR_HAS_AVERAGE_POOL)
#define BR_HAS_POOL
#endif
#if defined(BR_HAS_NEAREST) || defined(BR_HAS_BILINEAR)
#define BR_HAS_RESIZE
#endif

#define BR_PORTABLE 1
#define BR_AVX2 2
#define BR_AVX512 3
#define BR_NEON 4
#define BR_WASM 5
#define BR_AMX 6
#define BR_JOIN_(a, b) br_##a##_##b
#define BR_JOIN(a, b) BR_JOIN_(a, b)

#if defined(__clang__)
#define BR_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define BR_UNROLL _Pragma("GCC unroll 16")
#else
#define BR_UNROLL
#endif

/* Functions that follow may use an instruction set; the file is compiled for any processor. All with AVX2 have F16C. */
#if defined(__clang__)
#define BR_TARGET_END _Pragma("clang attribute pop")
#define BR_TARGET_AVX2 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c\"))), apply_to = function)")
#define BR_TARGET_AMX \
  _Pragma("clang attribute push(__attribute__((target(\"amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni,avx2,fma,f16c\"))), apply_to = function)")
#define BR_TARGET_AVX512 \
  _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni,avx2,fma,f16c\"))), apply_to = function)")
#elif defined(__GNUC__)
#define BR_TARGET_END _Pragma("GCC pop_options")
#define BR_TARGET_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,f16c\")")
#define BR_TARGET_AMX \
  _Pragma("GCC push_options") _Pragma("GCC target(\"amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni,avx2,fma,f16c\")")
#define BR_TARGET_AVX512 \
  _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni,avx2,fma,f16c\")")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

#if !defined(BR_ONLY) || BR_ONLY == BR_AVX512 || BR_ONLY == BR_AMX
#define BR_WITH_AVX512
#if defined(BR_HAS_BINARY_CONV) && defined(__linux__) && (!defined(BR_ONLY) || BR_ONLY == BR_AMX)
#define BR_WITH_AMX
#endif
#undef BR_ISA
#undef BR_NAME
#undef BR_PIXELS
#define BR_ISA BR_AVX512
#define BR_NAME(x) BR_JOIN(x, avx512)
#define BR_PIXELS 8
BR_TARGET_AVX512
#include "template.h"
BR_TARGET_END
#ifdef BR_WITH_AMX
BR_TARGET_AMX
#include "amx.h"
BR_TARGET_END
#endif
#endif

#if !defined(BR_ONLY) || BR_ONLY == BR_AVX2
#define BR_WITH_AVX2
#undef BR_ISA
#undef BR_NAME
#undef BR_PIXELS
#define BR_ISA BR_AVX2
#define BR_NAME(x) BR_JOIN(x, avx2)
#define BR_PIXELS 4
BR_TARGET_AVX2
#include "template.h"
BR_TARGET_END
#endif
#endif

#if defined(__ARM_NEON) && (!defined(BR_ONLY) || BR_ONLY == BR_NEON)
#include <arm_neon.h>
#define BR_WITH_NEON
#undef BR_ISA
#undef BR_NAME
#undef BR_PIXELS
#define BR_ISA BR_NEON
#define BR_NAME(x) BR_JOIN(x, neon)
#define BR_PIXELS 4
#include "template.h"
#endif

#if defined(__wasm_simd128__) && (!defined(BR_ONLY) || BR_ONLY == BR_WASM)
#include <wasm_simd128.h>
#define BR_WITH_WASM
#undef BR_ISA
#undef BR_NAME
#undef BR_PIXELS
#define BR_ISA BR_WASM
#define BR_NAME(x) BR_JOIN(x, wasm)
#define BR_PIXELS 4
#include "template.h"
#endif

#if !defined(BR_WITH_NEON) && !defined(BR_WITH_WASM) && (!defined(BR_ONLY) || BR_ONLY == BR_PORTABLE)
#define BR_WITH_PORTABLE
#undef BR_ISA
#undef BR_NAME
#undef BR_PIXELS
#define BR_ISA BR_PORTABLE
#define BR_NAME(x) BR_JOIN(x, portable)
#define BR_PIXELS 1
#include "template.h"
#endif

#undef F
#undef B

#ifdef BR_WITH_AMX
/* Whether the processor has the matrix unit, and Linux lets this process use it, which must be asked for. */
static int br_has_amx(void) {
#ifdef BR_EMULATE_AMX
  return 1;
#else
  unsigned a, b, c, d;
  long answer;
  if (!__builtin_cpu_is("intel")) return 0; /* asking a virtual machine's processor takes microseconds */
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1)) return 0;
  __asm__ volatile("syscall" : "=a"(answer) : "0"(158L), "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
  return answer == 0; /* of arch_prctl(ARCH_REQ_XCOMP_PERM, tile data) */
#endif
}
#endif

/* The fastest kernels that this processor runs; null if BR_ONLY names others. */
static const br_kernels_t *br_kernels(void) {
#ifdef BR_WITH_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vnni")) {
#ifdef BR_WITH_AMX
    if (br_has_amx()) return &br_kernels_amx;
#endif
#if !defined(BR_ONLY) || BR_ONLY == BR_AVX512
    return &br_kernels_avx512;
#endif
  }
#endif
#ifdef BR_WITH_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &br_kernels_avx2;
#endif
#if defined(BR_WITH_NEON)
  return &br_kernels_neon;
#elif defined(BR_WITH_WASM)
  return &br_kernels_wasm;
#elif defined(BR_WITH_PORTABLE)
  return &br_kernels_portable;
#else
  return NULL;
#endif
}

#endif
