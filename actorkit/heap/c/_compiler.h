/* What both extensions ask of the compiler. */

#ifndef ACTORKIT_HEAP_COMPILER_H
#define ACTORKIT_HEAP_COMPILER_H

#ifdef __GNUC__
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define ALWAYS_INLINE inline
#define LIKELY(condition) (condition)
#define UNLIKELY(condition) (condition)
#endif

#endif
