/* Heaps: the small blocks of one account, on pages that nobody else has blocks in.

Theory of operation
===================

A page (`_pages.h`) begins with its header; the rest is cut into blocks of 16 to 512 bytes as they are asked for, of
all sizes side by side. An actor of a few KiB would hold more air than objects, if each size had pages, or parts of
pages, to itself. The header has a bit for each 16 bytes at which a block begins, so the size of a block, which a free
does not tell, is the distance to the next bit.

A heap cuts blocks off its *extent*, a free piece of a page, at `bump`. What is freed goes onto a list of its size, and
is the first to be taken again. When the extent is too short, its rest goes onto a list as well, and the next extent is
an empty page of the heap, or else the largest block that is free, or else a new page. Before a new page is taken,
free blocks that lie side by side are merged, if a quarter of the heap is free and it has grown by a quarter since that
was done last.

The lists are linked both ways, so that an empty page can leave them: for use as an extent, or to be given back, which
`heap_sweep` does. A page that becomes empty stays with its heap at first, since it may be needed at once; when half of the
pages are empty they are swept. The link to the block before is only valid for blocks that are not the first of their
list.

A heap outlives its account while there are blocks on its pages (*adopted*). Nothing is taken from it any more, so its
lists are forgotten, and every page that becomes empty is given back, and with the last page the heap goes.

The GIL protects everything here: the object and the memory domain are called with it.
*/

#include "_pages.h"

#ifdef HAVE_SLABS

#define GRANULE 16
#define CLASSES 33  /* blocks of 16, 32, ... 512 bytes; there is no class 0 */
#define LARGER 33   /* the list of free blocks that were merged into larger ones */
#define LISTS 34
#define EMPTIES 4   /* so many pages may be empty in any heap */
#define FIRST_BLOCK (sizeof(Page) / GRANULE)
#define PAGE_GRANULES (PAGE_BYTES / GRANULE)

struct Heap {
    void *free[LISTS];
    char *bump, *bump_end; /* the extent */
    uint64_t live;         /* bytes of blocks handed out */
    uint64_t pages;
    uint64_t empties;      /* of them without a block handed out */
    uint64_t merge_at;     /* pages with which free blocks may be merged again */
    Page *in_use, *empty;
    Heap *next, *previous; /* among all heaps */
    bool adopted;
};

_Static_assert(sizeof(Page) % GRANULE == 0 && sizeof(((Page *)0)->starts) * 8 >= PAGE_GRANULES + 64,
               "blocks are aligned, and eight bytes can be read from where the last bit is");

static Heap *heaps;

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
next_of(void *block)
{
    return ((void **)block)[0];
}

LINKS void *
previous_of(void *block)
{
    return ((void **)block)[1];
}

LINKS void
set_next(void *block, void *next)
{
    ((void **)block)[0] = next;
}

LINKS void
set_previous(void *block, void *previous)
{
    ((void **)block)[1] = previous;
}

/* --- Pages and the blocks in them ----------------------------------------------------------------------- */

static inline Page *
page_of(const void *block)
{
    return (Page *)((uintptr_t)block & ~(uintptr_t)(PAGE_BYTES - 1));
}

static inline unsigned
granule_of(const Page *page, const void *place)
{
    return (unsigned)((size_t)((const char *)place - (const char *)page) / GRANULE);
}

static inline void
mark_start(Page *page, unsigned granule)
{
    page->starts[granule / 64] |= (uint64_t)1 << (granule & 63);
}

/* What it takes of a block that is at most 512 bytes, in granules: the distance to where the next begins. */
static inline unsigned
class_of_block(const Page *page, const void *block)
{
    unsigned after = granule_of(page, block) + 1;
    uint64_t starts;
    memcpy(&starts, (const char *)page->starts + after / 8, sizeof(starts));
    return (unsigned)__builtin_ctzll(starts >> (after & 7)) + 1;
}

/* The same of a block of any size. */
static unsigned
length_of_block(const Page *page, unsigned granule)
{
    unsigned after = granule + 1, word = after / 64;
    uint64_t starts = page->starts[word] & ~(uint64_t)0 << (after & 63);
    while (starts == 0) {
        starts = page->starts[++word];
    }
    return word * 64 + (unsigned)__builtin_ctzll(starts) - granule;
}

static inline void *
block_at(Page *page, unsigned granule)
{
    return (char *)page + (size_t)granule * GRANULE;
}

static inline void
list_push(Heap *heap, void *block, unsigned class)
{
    void *first = heap->free[class];
    set_next(block, first);
    if (first != NULL) {
        set_previous(first, block);
    }
    heap->free[class] = block;
}

static void
list_remove(Heap *heap, void *block, unsigned class)
{
    void *next = next_of(block);
    if (heap->free[class] == block) {
        heap->free[class] = next;
        return;
    }
    void *previous = previous_of(block);
    set_next(previous, next);
    if (next != NULL) {
        set_previous(next, previous);
    }
}

static inline unsigned
list_for(unsigned granules)
{
    return granules < CLASSES ? granules : LARGER;
}

static void
page_enter(Page **list, Page *page)
{
    page->previous = NULL;
    page->next = *list;
    if (*list != NULL) {
        (*list)->previous = page;
    }
    *list = page;
}

static void
page_leave(Page **list, Page *page)
{
    if (page->previous != NULL) {
        page->previous->next = page->next;
    }
    else {
        *list = page->next;
    }
    if (page->next != NULL) {
        page->next->previous = page->previous;
    }
}

static __attribute__((noinline)) void
page_begins(Heap *heap, Page *page)
{
    page_leave(&heap->empty, page);
    page_enter(&heap->in_use, page);
    heap->empties--;
}

/* Take an empty page out of everything that knows of its blocks. */
static void
page_forget(Heap *heap, Page *page)
{
    for (unsigned granule = FIRST_BLOCK; granule < PAGE_GRANULES;) {
        void *block = block_at(page, granule);
        unsigned length = length_of_block(page, granule);
        if (heap->bump == block && heap->bump < heap->bump_end) {
            heap->bump = heap->bump_end = NULL;
        }
        else {
            list_remove(heap, block, list_for(length));
        }
        granule += length;
    }
}

/* It is one free block now, and in no list. */
static void
page_reset(Page *page)
{
    memset(page->starts, 0, sizeof(page->starts));
    mark_start(page, FIRST_BLOCK);
    mark_start(page, PAGE_GRANULES);
    POISON(block_at(page, FIRST_BLOCK), PAGE_BYTES - sizeof(Page));
}

/* Give a page back that is in none of the heap's lists any more. */
static void
page_release(Heap *heap, Page *page)
{
    UNPOISON(page, PAGE_BYTES);
    page_give(page);
    heap->pages--;
    slab_statistics.pages -= PAGE_BYTES;
    if (heap->adopted) {
        slab_statistics.adopted -= PAGE_BYTES;
    }
}

/* --- Heaps ---------------------------------------------------------------------------------------------- */

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

/* Give the pages that are empty back. */
static void
heap_sweep(Heap *heap)
{
    Page *next;
    for (Page *page = heap->empty; page != NULL; page = next) {
        next = page->next;
        page_forget(heap, page);
        page_release(heap, page);
    }
    heap->empty = NULL;
    heap->empties = 0;
    if (heap->merge_at > heap->pages + heap->pages / 4) {
        heap->merge_at = heap->pages + heap->pages / 4;
    }
}

/* Its account is gone. */
static void
heap_abandon(Heap *heap)
{
    Page *next;
    for (Page *page = heap->empty; page != NULL; page = next) {
        next = page->next;
        page_release(heap, page);
    }
    heap->empty = NULL;
    heap->empties = 0;
    if (heap->pages == 0) {
        heap_free(heap);
        return;
    }
    heap->adopted = true;
    slab_statistics.adopted += heap->pages * PAGE_BYTES;
}

/* Make one of free blocks that lie side by side. There is no extent, and no empty page. */
static void
heap_merge(Heap *heap)
{
    typedef uint64_t Bits[PAGE_GRANULES / 64];
    Bits *free_blocks = calloc(heap->pages, sizeof(Bits));
    if (free_blocks == NULL) {
        return;
    }
    uint32_t number = 0;
    for (Page *page = heap->in_use; page != NULL; page = page->next) {
        page->number = number++;
    }
    for (unsigned class = 1; class < LISTS; class++) {
        for (void *block = heap->free[class]; block != NULL; block = next_of(block)) {
            Page *page = page_of(block);
            unsigned granule = granule_of(page, block);
            free_blocks[page->number][granule / 64] |= (uint64_t)1 << (granule & 63);
        }
        heap->free[class] = NULL;
    }
    for (Page *page = heap->in_use; page != NULL; page = page->next) {
        const uint64_t *is_free = free_blocks[page->number];
        unsigned first = 0; /* where a row of free blocks began */
        for (unsigned granule = FIRST_BLOCK; granule <= PAGE_GRANULES;) {
            bool free_here = granule < PAGE_GRANULES && (is_free[granule / 64] >> (granule & 63) & 1);
            if (!free_here && first != 0) {
                list_push(heap, block_at(page, first), list_for(granule - first));
                first = 0;
            }
            else if (free_here && first != 0) {
                page->starts[granule / 64] &= ~((uint64_t)1 << (granule & 63));
            }
            else if (free_here) {
                first = granule;
            }
            if (granule == PAGE_GRANULES) {
                break;
            }
            granule += length_of_block(page, granule);
        }
    }
    free(free_blocks);
}

/* Let the extent be the largest free block, if it has so many granules. */
static bool
heap_reuse(Heap *heap, unsigned class)
{
    for (unsigned larger = LARGER; larger >= class; larger--) {
        void *block = heap->free[larger];
        if (block != NULL) {
            Page *page = page_of(block);
            heap->free[larger] = next_of(block);
            heap->bump = block;
            heap->bump_end = heap->bump + (size_t)length_of_block(page, granule_of(page, block)) * GRANULE;
            return true;
        }
    }
    return false;
}

/* Find an extent for a block of this class. False: there is no page to be had. */
static __attribute__((noinline)) bool
heap_extend(Heap *heap, unsigned class)
{
    if (heap->bump < heap->bump_end) {
        list_push(heap, heap->bump, (unsigned)(heap->bump_end - heap->bump) / GRANULE);
    }
    heap->bump = heap->bump_end = NULL;
    Page *page = heap->empty;
    if (page != NULL) {
        page_forget(heap, page);
    }
    else {
        if (heap_reuse(heap, class)) {
            return true;
        }
        if (heap->pages >= heap->merge_at && heap->live < heap->pages * (PAGE_BYTES / 4 * 3)) {
            heap_merge(heap);
            heap->merge_at = heap->pages + heap->pages / 4;
            if (heap_reuse(heap, class)) {
                return true;
            }
        }
        Region *region;
        page = page_take(&region);
        if (page == NULL) {
            return false;
        }
        page->heap = heap;
        page->region = region;
        page->used = 0;
        page_enter(&heap->empty, page);
        heap->empties++;
        heap->pages++;
        slab_statistics.pages += PAGE_BYTES;
    }
    page_reset(page);
    heap->bump = block_at(page, FIRST_BLOCK);
    heap->bump_end = (char *)page + PAGE_BYTES;
    return true;
}

/* --- Blocks --------------------------------------------------------------------------------------------- */

static inline unsigned
class_of(size_t size)
{
    return (unsigned)((size + (size == 0) + GRANULE - 1) / GRANULE);
}

/* NULL if there is no page to be had. At most 512 bytes. */
static inline void *
slab_malloc(Heap *heap, size_t size)
{
    unsigned class = class_of(size);
    size_t bytes = (size_t)class * GRANULE;
    void *block = heap->free[class];
    Page *page;
    if (block != NULL) {
        heap->free[class] = next_of(block);
        page = page_of(block);
    }
    else {
        if (UNLIKELY((size_t)(heap->bump_end - heap->bump) < bytes) && !heap_extend(heap, class)) {
            return NULL;
        }
        block = heap->bump;
        page = page_of(block);
        heap->bump += bytes;
        mark_start(page, granule_of(page, heap->bump));
    }
    UNPOISON(block, bytes);
    if (UNLIKELY(page->used++ == 0)) {
        page_begins(heap, page);
    }
    heap->live += bytes;
    return block;
}

/* The last block of a page is gone. */
static __attribute__((noinline)) void
page_ends(Heap *heap, Page *page)
{
    page_leave(&heap->in_use, page);
    if (!heap->adopted) {
        page_enter(&heap->empty, page);
        if (++heap->empties > EMPTIES && heap->empties > heap->pages / 2) {
            heap_sweep(heap);
        }
        return;
    }
    page_release(heap, page);
    if (heap->pages == 0) {
        heap_free(heap);
    }
}

static inline void
slab_free(void *block)
{
    Page *page = page_of(block);
    Heap *heap = page->heap;
    unsigned class = class_of_block(page, block);
    heap->live -= (uint64_t)class * GRANULE;
    if (LIKELY(!heap->adopted)) {
        list_push(heap, block, class);
    }
    POISON(block, (size_t)class * GRANULE);
    if (UNLIKELY(--page->used == 0)) {
        page_ends(heap, page);
    }
}

static inline size_t
slab_block_size(const void *block)
{
    return (size_t)class_of_block(page_of(block), block) * GRANULE;
}

static uint64_t
slabs_live(void)
{
    uint64_t live = 0;
    for (Heap *heap = heaps; heap != NULL; heap = heap->next) {
        live += heap->live;
    }
    return live;
}

/* Give what is free back to the system, for so many seconds. Returns the bytes that went. */
static uint64_t
slabs_purge(double seconds)
{
    double until = seconds_now() + seconds;
    uint64_t given = 0;
    unsigned swept = 0;
    for (Heap *heap = heaps; heap != NULL; heap = heap->next) {
        heap_sweep(heap); /* an adopted one has no empty pages */
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
