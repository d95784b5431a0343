/* What both extensions ask of the compiler. */

#ifndef ACTORKIT_HEAP_COMPILER_H
#define ACTORKIT_HEAP_COMPILER_H

#include <stdint.h>

#ifdef __GNUC__
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define ALWAYS_INLINE inline
#define LIKELY(condition) (condition)
#define UNLIKELY(condition) (condition)
#endif

/* Relaxed atomic access, for what is also read or written without the GIL. */
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)
#define ADD(place, value) __atomic_add_fetch(&(place), (value), __ATOMIC_RELAXED)

/* glibc knows whether the process has one thread only. Adding is then four times as fast. */
#if defined(__GLIBC__) && defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define ONE_THREAD __libc_single_threaded
#endif
#endif
#ifndef ONE_THREAD
#define ONE_THREAD 0
#endif

/* Add to a counter that threads without the GIL change as well. */
#ifdef __GNUC__
static inline uint64_t
add_shared(uint64_t *place, uint64_t value)
{
    if (ONE_THREAD) {
        uint64_t sum = *place + value;
        STORE(*place, sum);
        return sum;
    }
    return __atomic_add_fetch(place, value, __ATOMIC_ACQ_REL);
}
#endif

#endif
