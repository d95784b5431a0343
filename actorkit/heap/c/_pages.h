/* Pages for heaps: where they come from, and how they go back to the system. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * A *region* is 16 MiB of address space, aligned, mapped when the regions before it are used up. A
 * *page* is 4 KiB of it. A page belongs to one heap, or is free: *cold* while it is resident,
 * *clean* when it is not. Which is which stands in the region's record, in its first pages, so that
 * looking for a free page, or giving it back, touches no other. What is known of each page stands
 * there too: at the start of the pages themselves it would lie in the same few sets of the
 * processor's cache for all of them.
 *
 * The address of a block shows whether it is ours: a bound, the span of all regions, and then a bit
 * for each 16 MiB.
 *
 * The GIL. Threads of interpreters with another GIL may ask `slab_is_ours` about blocks that are
 * not ours; it reads, and answers no. Everything else is done with the GIL.
 *
 * Nothing here allocates through Python, and nothing here is a Python object. */

#ifndef ACTORKIT_HEAP_PAGES_H
#define ACTORKIT_HEAP_PAGES_H

#include "_compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__linux__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define HAVE_SLABS 1
#endif

typedef struct Heap Heap;

typedef struct {
    uint64_t mapped;     /* bytes of address space */
    uint64_t pages;      /* bytes of pages that heaps have */
    uint64_t cold;       /* bytes of free pages that are resident */
    uint64_t empty;      /* bytes of `pages` without blocks, which stay with their heap for now */
    uint64_t adopted;    /* bytes of pages whose account is gone */
    uint64_t heaps;      /* how many heaps have pages, or an account */
    uint64_t given_back; /* bytes given back since the start */
    uint64_t refusals;   /* how often a region could not be mapped */
} SlabStatistics;

static SlabStatistics slab_statistics;

#ifdef HAVE_SLABS

#include <dlfcn.h>
#include <sys/mman.h>
#include <time.h>

#define REGION_BITS 24
#define REGION_BYTES ((size_t)1 << REGION_BITS)
#define ADDRESS_BITS 48 /* regions above that are not used; the kernel gives none unless asked */
#define PAGE_BYTES ((size_t)4096)
#define REGION_WORDS (REGION_BYTES / PAGE_BYTES / 64)
#define MAPPING_PAUSE 4096  /* after a mapping has failed, so many requests pass before the next is tried */

typedef struct Region Region;
typedef struct Links Links;

struct Links {
    Links *next, *previous;
};

/* What is known of a page. All but `links` is for its heap to change. `used` and `listed` lie
   apart, so that a compiler does not make one access of two: they are also written singly, and the
   processor would wait for both. */
typedef struct {
    Heap *heap;
    void *freed;         /* blocks freed since it was last settled, linked by their first words */
    uint32_t used;       /* blocks handed out, in units of 16 bytes */
    uint32_t starts[10]; /* a bit for each 16 bytes where a block begins, and for the end of the page */
    uint32_t listed;     /* free blocks on the heap's lists; one more for the extent, one if it was settled last */
} Page;

_Static_assert(sizeof(Page) == 64, "one line of the cache");
_Static_assert(sizeof(((Page *)0)->starts) * 8 >= PAGE_BYTES / 16 + 64, "eight bytes can be read from any bit on");

struct Region {
    Region *next;
    uint32_t cold_pages, clean_pages, cold_word;
    uint64_t cold[REGION_WORDS];
    uint64_t clean[REGION_WORDS];
    Links links[REGION_WORDS * 64]; /* of the pages: each is in a ring of its heap */
    _Alignas(64) Page pages[REGION_WORDS * 64];
};

#define RECORD_PAGES ((sizeof(Region) + PAGE_BYTES - 1) / PAGE_BYTES)
#define REGION_PAGES (REGION_WORDS * 64 - RECORD_PAGES) /* the pages that heaps can have */

static uint8_t region_bits[(size_t)1 << (ADDRESS_BITS - REGION_BITS - 3)];
static uintptr_t regions_start, regions_span;
static Region *regions;
static Region *cold_hint;
static uint64_t clean_pages;
static unsigned mapping_pause;

static inline bool
slab_is_ours(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    return UNLIKELY(address - regions_start < regions_span)
           && (region_bits[address >> (REGION_BITS + 3)] >> (address >> REGION_BITS & 7) & 1);
}

static void
measure_span(void)
{
    uintptr_t first = UINTPTR_MAX, end = 0;
    for (Region *region = regions; region != NULL; region = region->next) {
        uintptr_t start = (uintptr_t)region;
        first = start < first ? start : first;
        end = start + REGION_BYTES > end ? start + REGION_BYTES : end;
    }
    regions_start = first;
    regions_span = regions == NULL ? 0 : end - first;
}

static Region *
region_map(void)
{
    if (mapping_pause > 0) {
        mapping_pause--;
        return NULL;
    }
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *start = mmap(NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (start == MAP_FAILED) {
        goto refused;
    }
    size_t before = -(uintptr_t)start & (REGION_BYTES - 1);
    if (before != 0) {
        (void)munmap(start, before);
    }
    (void)munmap(start + before + REGION_BYTES, REGION_BYTES - before);
    start += before;
    if (((uintptr_t)start + REGION_BYTES - 1) >> ADDRESS_BITS != 0) {
        (void)munmap(start, REGION_BYTES);
        goto refused;
    }
    (void)madvise(start, REGION_BYTES, MADV_NOHUGEPAGE);
    Region *region = (Region *)start;
    for (size_t page = RECORD_PAGES; page < REGION_WORDS * 64; page++) {
        region->clean[page / 64] |= (uint64_t)1 << (page & 63);
    }
    region->clean_pages = REGION_PAGES;
    clean_pages += region->clean_pages;
    region->next = regions;
    regions = region;
    region_bits[(uintptr_t)start >> (REGION_BITS + 3)] |= (uint8_t)(1 << ((uintptr_t)start >> REGION_BITS & 7));
    measure_span();
    slab_statistics.mapped += REGION_BYTES;
    return region;
refused:
    mapping_pause = MAPPING_PAUSE;
    slab_statistics.refusals++;
    return NULL;
}

static void
region_unmap(Region **place)
{
    Region *region = *place, *next = region->next;
    uintptr_t start = (uintptr_t)region;
    uint32_t gone = region->clean_pages;
    if (munmap(region, REGION_BYTES) != 0) {
        return;
    }
    *place = next;
    region_bits[start >> (REGION_BITS + 3)] &= (uint8_t)~(1 << (start >> REGION_BITS & 7));
    clean_pages -= gone;
    if (cold_hint == region) {
        cold_hint = NULL;
    }
    measure_span();
    slab_statistics.mapped -= REGION_BYTES;
}

static inline Region *
region_of(const void *place)
{
    return (Region *)((uintptr_t)place & ~(uintptr_t)(REGION_BYTES - 1));
}

static inline Page *
page_of(const void *block)
{
    return &region_of(block)->pages[(uintptr_t)block / PAGE_BYTES % (REGION_WORDS * 64)];
}

static inline size_t
number_of(const Page *page)
{
    return (size_t)(page - region_of(page)->pages);
}

/* Where the blocks of a page are. */
static inline char *
start_of(const Page *page)
{
    return (char *)region_of(page) + number_of(page) * PAGE_BYTES;
}

static inline Links *
links_of(const Page *page)
{
    return &region_of(page)->links[number_of(page)];
}

static inline Page *
page_with(const Links *links)
{
    Region *region = region_of(links);
    return &region->pages[links - region->links];
}

/* Take a free page: a cold one first, since it is resident, then a clean one, then one of a new
   region. */
static Page *
page_take(void)
{
    Region *region;
    if (slab_statistics.cold > 0) {
        region = cold_hint;
        if (region == NULL || region->cold_pages == 0) {
            for (region = regions; region->cold_pages == 0; region = region->next) {
            }
            cold_hint = region;
        }
        unsigned word = region->cold_word;
        while (region->cold[word] == 0) {
            word = (word + 1) % REGION_WORDS;
        }
        region->cold_word = word;
        unsigned bit = (unsigned)__builtin_ctzll(region->cold[word]);
        region->cold[word] &= region->cold[word] - 1;
        region->cold_pages--;
        slab_statistics.cold -= PAGE_BYTES;
        return &region->pages[word * 64 + bit];
    }
    if (clean_pages == 0) {
        region = region_map();
        if (region == NULL) {
            return NULL;
        }
    }
    else {
        for (region = regions; region->clean_pages == 0; region = region->next) {
        }
    }
    unsigned word = 0;
    while (region->clean[word] == 0) {
        word++;
    }
    unsigned bit = (unsigned)__builtin_ctzll(region->clean[word]);
    region->clean[word] &= region->clean[word] - 1;
    region->clean_pages--;
    clean_pages--;
    return &region->pages[word * 64 + bit];
}

static void
page_give(Page *page)
{
    Region *region = region_of(page);
    size_t number = number_of(page);
    region->cold[number / 64] |= (uint64_t)1 << (number & 63);
    region->cold_word = (uint32_t)(number / 64);
    region->cold_pages++;
    cold_hint = region;
    slab_statistics.cold += PAGE_BYTES;
}

static double
seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Give the cold pages of a region back. False: the time is up, or the kernel does not take them. */
static bool
region_purge(Region *region, double until, uint64_t *given)
{
    enum { PAGES = REGION_WORDS * 64 };
    unsigned first = 0;
    while (region->cold_pages > 0 && first < PAGES) {
        uint64_t word = region->cold[first / 64] >> (first & 63);
        if (word == 0) {
            first = (first / 64 + 1) * 64;
            continue;
        }
        first += (unsigned)__builtin_ctzll(word);
        unsigned end = first + 1;
        while (end < PAGES && (region->cold[end / 64] >> (end & 63) & 1)) {
            end++;
        }
        size_t bytes = (size_t)(end - first) * PAGE_BYTES;
        if (madvise((char *)region + (size_t)first * PAGE_BYTES, bytes, MADV_DONTNEED) != 0) {
            return false; /* they are locked in memory, for instance */
        }
        for (unsigned page = first; page < end; page++) {
            region->cold[page / 64] &= ~((uint64_t)1 << (page & 63));
            region->clean[page / 64] |= (uint64_t)1 << (page & 63);
        }
        region->cold_pages -= end - first;
        region->clean_pages += end - first;
        clean_pages += end - first;
        slab_statistics.cold -= bytes;
        slab_statistics.given_back += bytes;
        *given += bytes;
        first = end;
        if (seconds_now() >= until) {
            return false;
        }
    }
    return true;
}

#endif

#endif
