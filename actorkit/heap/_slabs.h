/* Slabs: the small blocks of one account, on pages that nobody else has blocks in.

Theory of operation
===================

A *region* is 16 MiB of address space, aligned, mapped when the ones before are used up. A *page* is 4 KiB of it
and belongs to one heap, or is free: *cold* while it is resident, *clean* when it is not. Which is which stands in
the region's record, outside the pages, so that looking for a free page, or giving it back, touches none.

A page is 64 *lines* of 64 bytes. The first is its header. A *slab* is a row of lines for blocks of one size class
(multiples of 16 bytes), with a header of its own at the start. The page has a bit for each line where a slab
begins, so the slab of a block is found from its address: the last such bit at or before the block's line. A young
heap makes small slabs, several to a page; it would else hold a page for each size class it ever used. The more it
has of a class, the larger are the new ones, up to a page.

A heap's slabs with a free block are in `available`, by class; each has at least one on its list, or it is not in
there. Blocks never used yet are put on the list a few at a time. A slab whose last block is freed gives its lines
back, unless it is the only available one of its class: it may be needed at once. `heap_sweep` takes these too.

A heap outlives its account while there are blocks on its pages (*adopted*); then every slab that becomes empty is
given back, and with the last page the heap goes.

The GIL protects everything here: the object and the memory domain are called with it. `slab_is_ours` may be asked
by threads of interpreters with another GIL, about blocks that are not ours; it reads, and answers no.

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
    uint64_t live;       /* bytes of blocks handed out */
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
#define LINE_BYTES 64
#define REGION_WORDS (REGION_BYTES / PAGE_BYTES / 64)
#define CLASSES 33          /* blocks of 16, 32, ... 512 bytes; there is no class 0 */
#define LEAST_SLAB 384      /* bytes of blocks in the slabs of a young heap */
#define SHARE_SHIFT 2       /* a new slab has a quarter of what the heap has for its class */
#define OPEN_LINES 6        /* a page with fewer free lines is not looked at for a slab */
#define OPEN_PAGES_TRIED 4
#define BATCH 8             /* blocks put on the list at once */
#define MAPPING_PAUSE 4096  /* so many requests after a mapping has failed, the next is tried */

typedef struct Slab Slab;
typedef struct Page Page;
typedef struct Region Region;

struct Slab {
    Slab *next, *previous; /* in `available` */
    void *free;            /* NULL: all blocks are handed out, and it is in no list */
    uint16_t used;
    uint16_t fresh;        /* offset of the first block never used */
    uint16_t end;          /* offset where the blocks end */
    uint8_t class;
    uint8_t lines;
};

struct Page {
    Heap *heap;
    uint64_t starts;       /* lines where a slab begins */
    uint64_t lines;        /* free ones */
    Page *next, *previous; /* in `open`, if it has OPEN_LINES */
    Region *region;
};

struct Region {
    char *start;
    Region *next;
    uint32_t cold_pages, clean_pages, cold_word;
    uint64_t cold[REGION_WORDS];
    uint64_t clean[REGION_WORDS];
};

struct Heap {
    Slab *available[CLASSES];
    uint64_t room[CLASSES]; /* bytes of blocks in its slabs, handed out or not */
    uint64_t live;
    uint64_t pages;
    Page *open;
    Heap *next, *previous; /* among all heaps */
    bool adopted;
};

_Static_assert(sizeof(Slab) == 32 && sizeof(Page) <= LINE_BYTES, "slab and page headers have their places");

#define ALL_LINES (~(uint64_t)1)

/* Under AddressSanitizer free blocks are poisoned; what links them is read and written by functions that it leaves
   alone. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(start, size) ASAN_POISON_MEMORY_REGION(start, size)
#define UNPOISON(start, size) ASAN_UNPOISON_MEMORY_REGION(start, size)
#define LINKS static __attribute__((no_sanitize("address"), noinline))
#else
#define POISON(start, size) ((void)0)
#define UNPOISON(start, size) ((void)0)
#define LINKS static inline
#endif

LINKS void *
link_of(void *block)
{
    return *(void **)block;
}

LINKS void
set_link(void *block, void *next)
{
    *(void **)block = next;
}

/* --- Regions and pages ---------------------------------------------------------------------------------- */

static uint8_t region_bits[(size_t)1 << (ADDRESS_BITS - REGION_BITS - 3)];
static uintptr_t regions_start, regions_span;
static Region *regions;
static Region *cold_hint;
static uint64_t clean_pages;
static unsigned mapping_pause;
static Heap *heaps;

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
page_of(const void *block)
{
    return (Page *)((uintptr_t)block & ~(uintptr_t)(PAGE_BYTES - 1));
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

/* --- Heaps and slabs ------------------------------------------------------------------------------------ */

static Heap *
heap_new(void)
{
    Heap *heap = calloc(1, sizeof(Heap));
    if (heap != NULL) {
        heap->next = heaps;
        if (heaps != NULL) {
            heaps->previous = heap;
        }
        heaps = heap;
        slab_statistics.heaps++;
    }
    return heap;
}

static void
heap_free(Heap *heap)
{
    if (heap->previous != NULL) {
        heap->previous->next = heap->next;
    }
    else {
        heaps = heap->next;
    }
    if (heap->next != NULL) {
        heap->next->previous = heap->previous;
    }
    slab_statistics.heaps--;
    free(heap);
}

static inline bool
is_open(const Page *page)
{
    return __builtin_popcountll(page->lines) >= OPEN_LINES;
}

static void
page_open(Heap *heap, Page *page)
{
    page->previous = NULL;
    page->next = heap->open;
    if (heap->open != NULL) {
        heap->open->previous = page;
    }
    heap->open = page;
}

static void
page_close(Heap *heap, Page *page)
{
    if (page->previous != NULL) {
        page->previous->next = page->next;
    }
    else {
        heap->open = page->next;
    }
    if (page->next != NULL) {
        page->next->previous = page->previous;
    }
}

static void
slab_appear(Heap *heap, Slab *slab)
{
    Slab *first = heap->available[slab->class];
    slab->previous = NULL;
    slab->next = first;
    if (first != NULL) {
        first->previous = slab;
    }
    heap->available[slab->class] = slab;
}

static void
slab_vanish(Heap *heap, Slab *slab)
{
    if (slab->previous != NULL) {
        slab->previous->next = slab->next;
    }
    else {
        heap->available[slab->class] = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->previous = slab->previous;
    }
}

/* Give the lines of an empty slab back. */
static void
slab_release(Heap *heap, Slab *slab)
{
    Page *page = page_of(slab);
    unsigned line = (unsigned)(((char *)slab - (char *)page) / LINE_BYTES);
    slab_vanish(heap, slab);
    heap->room[slab->class] -= slab->end - sizeof(Slab);
    UNPOISON(slab, (size_t)slab->lines * LINE_BYTES);
    bool was_open = is_open(page);
    page->starts &= ~((uint64_t)1 << line);
    page->lines |= (((uint64_t)1 << slab->lines) - 1) << line; /* at most 63 */
    if (page->lines == ALL_LINES) {
        if (was_open) {
            page_close(heap, page);
        }
        page_give(page);
        heap->pages--;
        slab_statistics.pages -= PAGE_BYTES;
        if (heap->adopted) {
            slab_statistics.adopted -= PAGE_BYTES;
        }
    }
    else if (!was_open && is_open(page)) {
        page_open(heap, page);
    }
}

/* Give the slabs that are empty back. */
static void
heap_sweep(Heap *heap)
{
    for (int class = 1; class < CLASSES; class++) {
        Slab *next;
        for (Slab *slab = heap->available[class]; slab != NULL; slab = next) {
            next = slab->next;
            if (slab->used == 0) {
                slab_release(heap, slab);
            }
        }
    }
}

/* Its account is gone. */
static void
heap_abandon(Heap *heap)
{
    heap_sweep(heap);
    if (heap->pages == 0) {
        heap_free(heap);
        return;
    }
    heap->adopted = true;
    slab_statistics.adopted += heap->pages * PAGE_BYTES;
}

/* The first of so many free lines in a row, or -1. */
static inline int
lines_in_a_row(uint64_t lines, unsigned number)
{
    /* After each step a bit says that `have` lines from there on are free. */
    unsigned have = 1;
    while (have < number && lines != 0) {
        unsigned more = number - have < have ? number - have : have;
        lines &= lines >> more;
        have += more;
    }
    return lines == 0 ? -1 : __builtin_ctzll(lines);
}

/* Put a few more blocks on the list of a slab that has none there. False: all are in use. */
static inline bool
slab_refill(Slab *slab)
{
    unsigned size = (unsigned)slab->class * 16, fresh = slab->fresh, end = slab->end;
    if (fresh == end) {
        return false;
    }
    void *next = NULL;
    unsigned last = end - fresh > BATCH * size ? fresh + BATCH * size : end;
    for (unsigned offset = last; offset > fresh;) {
        offset -= size;
        set_link((char *)slab + offset, next);
        next = (char *)slab + offset;
    }
    slab->free = next;
    slab->fresh = (uint16_t)last;
    return true;
}

static __attribute__((noinline)) Slab *
slab_new(Heap *heap, unsigned class)
{
    size_t size = (size_t)class * 16, bytes = heap->room[class] >> SHARE_SHIFT;
    bytes = bytes < LEAST_SLAB ? LEAST_SLAB : bytes;
    bytes = bytes < size ? size : bytes;
    unsigned lines = bytes > PAGE_BYTES ? 63 : (unsigned)((bytes + sizeof(Slab) + LINE_BYTES - 1) / LINE_BYTES);
    unsigned least = (unsigned)((size + sizeof(Slab) + LINE_BYTES - 1) / LINE_BYTES);
    least = least < OPEN_LINES ? OPEN_LINES : least;
    lines = lines > 63 ? 63 : lines;
    Page *page = NULL;
    int line = -1;
    for (unsigned number = lines; line < 0 && number >= least; number /= 2) {
        page = heap->open;
        for (int tried = 0; page != NULL && tried < OPEN_PAGES_TRIED; tried++, page = page->next) {
            line = lines_in_a_row(page->lines, number);
            if (line >= 0) {
                lines = number;
                break;
            }
        }
    }
    if (line < 0) {
        Region *region;
        page = page_take(&region);
        if (page == NULL) {
            return NULL;
        }
        page->heap = heap;
        page->starts = 0;
        page->lines = ALL_LINES;
        page->region = region;
        page_open(heap, page);
        heap->pages++;
        slab_statistics.pages += PAGE_BYTES;
        line = 1;
    }
    Slab *slab = (Slab *)((char *)page + (size_t)line * LINE_BYTES);
    size_t blocks = ((size_t)lines * LINE_BYTES - sizeof(Slab)) / size;
    slab->free = NULL;
    slab->used = 0;
    slab->fresh = sizeof(Slab);
    slab->end = (uint16_t)(sizeof(Slab) + blocks * size);
    slab->class = (uint8_t)class;
    slab->lines = (uint8_t)((slab->end + LINE_BYTES - 1) / LINE_BYTES);
    heap->room[class] += blocks * size;
    page->starts |= (uint64_t)1 << line;
    page->lines &= ~((((uint64_t)1 << slab->lines) - 1) << line);
    if (!is_open(page)) {
        page_close(heap, page);
    }
    POISON((char *)slab + sizeof(Slab), (size_t)slab->lines * LINE_BYTES - sizeof(Slab));
    (void)slab_refill(slab);
    slab_appear(heap, slab);
    return slab;
}

/* --- Blocks --------------------------------------------------------------------------------------------- */

static inline unsigned
class_of(size_t size)
{
    return (unsigned)((size + (size == 0) + 15) >> 4);
}

/* NULL if there is no page to be had. At most 512 bytes. */
static inline void *
slab_malloc(Heap *heap, size_t size)
{
    unsigned class = class_of(size);
    Slab *slab = heap->available[class];
    if (UNLIKELY(slab == NULL)) {
        slab = slab_new(heap, class);
        if (slab == NULL) {
            return NULL;
        }
    }
    void *block = slab->free;
    UNPOISON(block, (size_t)class * 16);
    slab->free = link_of(block);
    slab->used++;
    heap->live += (uint64_t)class * 16;
    slab_statistics.live += (uint64_t)class * 16;
    if (UNLIKELY(slab->free == NULL) && !slab_refill(slab)) {
        slab_vanish(heap, slab);
    }
    return block;
}

static inline Slab *
slab_of(const void *block)
{
    Page *page = page_of(block);
    unsigned line = (unsigned)((uintptr_t)block / LINE_BYTES & 63);
    uint64_t before = page->starts << (63 - line); /* the block's own line is the highest bit now */
    return (Slab *)((char *)page + (size_t)(line - (unsigned)__builtin_clzll(before)) * LINE_BYTES);
}

/* It was full, or is empty. */
static __attribute__((noinline)) void
slab_changed(Heap *heap, Slab *slab, bool was_full)
{
    if (was_full) {
        slab_appear(heap, slab);
    }
    if (slab->used == 0 && (heap->adopted || slab->next != NULL || slab->previous != NULL)) {
        slab_release(heap, slab);
        if (heap->adopted && heap->pages == 0) {
            heap_free(heap);
        }
    }
}

static inline void
slab_free(void *block)
{
    Slab *slab = slab_of(block);
    Heap *heap = page_of(block)->heap;
    uint64_t size = (uint64_t)slab->class * 16;
    void *before = slab->free;
    set_link(block, before);
    POISON(block, size);
    slab->free = block;
    heap->live -= size;
    slab_statistics.live -= size;
    if (UNLIKELY(--slab->used == 0) || UNLIKELY(before == NULL)) {
        slab_changed(heap, slab, before == NULL);
    }
}

static inline size_t
slab_block_size(const void *block)
{
    return (size_t)slab_of(block)->class * 16;
}

/* --- Giving back ---------------------------------------------------------------------------------------- */

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

/* Give what is free back to the system, for so many seconds. Returns the bytes that went. */
static uint64_t
slabs_purge(double seconds)
{
    double until = seconds_now() + seconds;
    uint64_t given = 0;
    unsigned swept = 0;
    for (Heap *heap = heaps; heap != NULL; heap = heap->next) {
        if (!heap->adopted) { /* an adopted one keeps no empty slabs */
            heap_sweep(heap);
        }
        if ((++swept & 63) == 0 && seconds_now() >= until) {
            break;
        }
    }
    bool first = true;
    for (Region **place = &regions; *place != NULL;) {
        Region *region = *place;
        if (region->cold_pages > 0 && !region_purge(region, until, &given)) {
            break;
        }
        if (!first && region->clean_pages == REGION_WORDS * 64) {
            region_unmap(place);
            if (*place != region) {
                continue;
            }
        }
        first = false;
        place = &region->next;
    }
    return given;
}

/* Can there be a page at all? */
static bool
slabs_have_memory(void)
{
    return regions != NULL || region_map() != NULL;
}

/* Is this the interpreter's own allocator for small blocks? Whoever else stands there may step out one day, and take
   the hooks above along. */
static bool
is_pymalloc(const PyMemAllocatorEx *base)
{
    Dl_info interpreter, found;
    return base->ctx == NULL && dladdr((void *)(uintptr_t)PyObject_Malloc, &interpreter) != 0
           && dladdr((void *)(uintptr_t)base->malloc, &found) != 0 && found.dli_fbase == interpreter.dli_fbase;
}

#endif
