/* Pages for heaps: where they come from, and how they go back to the system.

Theory of operation
===================

A *region* is 16 MiB of address space, aligned, mapped when the ones before are used up. A *page* is 4 KiB of it
and belongs to one heap, or is free: *cold* while it is resident, *clean* when it is not. Which is which stands in
the region's record, outside the pages, so that looking for a free page, or giving it back, touches none.

Whether a block is ours is told by its address: a bound, the span of all regions, and then a bit for each 16 MiB.

`slab_is_ours` may be asked by threads of interpreters with another GIL, about blocks that are not ours; it reads, and
answers no. All else is done with the GIL.

Nothing here allocates through Python. Records come from malloc.
*/

#if defined(__linux__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define HAVE_SLABS 1
#endif

typedef struct Heap Heap;

typedef struct {
    uint64_t mapped;     /* bytes of address space */
    uint64_t pages;      /* bytes of pages with blocks */
    uint64_t cold;       /* bytes of free pages that are resident */
    uint64_t adopted;    /* bytes of pages whose account is gone */
    uint64_t heaps;      /* that have pages, or an account */
    uint64_t given_back; /* bytes, since the start */
    uint64_t refusals;   /* how often a region could not be mapped */
} SlabStatistics;

static SlabStatistics slab_statistics;

#ifdef HAVE_SLABS

#include <dlfcn.h>
#include <sys/mman.h>
#include <time.h>

#define REGION_BITS 24
#define REGION_BYTES ((size_t)1 << REGION_BITS)
#define ADDRESS_BITS 48 /* regions above that are not used; the kernel gives none unasked */
#define PAGE_BYTES ((size_t)4096)
#define REGION_WORDS (REGION_BYTES / PAGE_BYTES / 64)
#define MAPPING_PAUSE 4096  /* so many requests after a mapping has failed, the next is tried */

typedef struct Page Page;
typedef struct Region Region;

/* What stands at the start of a page; the rest is its heap's. */
struct Page {
    Heap *heap;
    Page *next, *previous; /* among the heap's pages in use, or among its empty ones */
    Region *region;
    uint32_t number;       /* among its heap's, while free blocks are merged */
    uint32_t used;         /* blocks handed out */
    uint64_t starts[5];    /* a bit for each 16 bytes where a block begins, and for the end of the page */
};

struct Region {
    char *start;
    Region *next;
    uint32_t cold_pages, clean_pages, cold_word;
    uint64_t cold[REGION_WORDS];
    uint64_t clean[REGION_WORDS];
};

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
        uintptr_t start = (uintptr_t)region->start;
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
    Region *region = calloc(1, sizeof(Region));
    char *start = region == NULL ? MAP_FAILED : mmap(NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE,
                                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
    region->start = start;
    memset(region->clean, 0xFF, sizeof(region->clean));
    region->clean_pages = REGION_WORDS * 64;
    clean_pages += region->clean_pages;
    region->next = regions;
    regions = region;
    region_bits[(uintptr_t)start >> (REGION_BITS + 3)] |= (uint8_t)(1 << ((uintptr_t)start >> REGION_BITS & 7));
    measure_span();
    slab_statistics.mapped += REGION_BYTES;
    return region;
refused:
    free(region);
    mapping_pause = MAPPING_PAUSE;
    slab_statistics.refusals++;
    return NULL;
}

static void
region_unmap(Region **place)
{
    Region *region = *place;
    uintptr_t start = (uintptr_t)region->start;
    if (munmap(region->start, REGION_BYTES) != 0) {
        return;
    }
    *place = region->next;
    region_bits[start >> (REGION_BITS + 3)] &= (uint8_t)~(1 << (start >> REGION_BITS & 7));
    clean_pages -= region->clean_pages;
    if (cold_hint == region) {
        cold_hint = NULL;
    }
    free(region);
    measure_span();
    slab_statistics.mapped -= REGION_BYTES;
}

static Page *
page_at(Region *region, unsigned word, unsigned bit)
{
    return (Page *)(region->start + ((size_t)word * 64 + bit) * PAGE_BYTES);
}

/* A free page: a cold one, which is resident already, before a clean one, before a new region. */
static Page *
page_take(Region **from)
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
        *from = region;
        return page_at(region, word, bit);
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
    *from = region;
    return page_at(region, word, bit);
}

static void
page_give(Page *page)
{
    Region *region = page->region;
    size_t number = (size_t)((char *)page - region->start) / PAGE_BYTES;
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

/* Give the cold pages of a region back; false when the time is up, or the kernel will not have them. */
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
        if (madvise(region->start + (size_t)first * PAGE_BYTES, bytes, MADV_DONTNEED) != 0) {
            return false; /* locked in memory, say */
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
