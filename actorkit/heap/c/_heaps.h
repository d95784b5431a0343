/* Heaps: the small blocks of one account, on pages where nobody else has blocks. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * A page (`_pages.h`) is cut into blocks of 16 to 512 bytes as they are asked for, of all sizes
 * side by side. An actor of a few KiB would hold more air than objects if each size had pages, or
 * parts of pages, to itself. The page's record has a bit for each 16 bytes at which a block begins.
 * A free does not tell the size of its block; it is the distance to the next bit.
 *
 * A heap cuts blocks off its *extent*, a free piece of a page, at `bump`. The heap is at work on a
 * page that has blocks on the heap's lists, or the extent, or was settled last. A block freed on
 * such a page goes onto the list of its size, and is the first to be taken again. A block freed
 * elsewhere goes onto its page's own list, and the page becomes *pending*: so a free, even of a
 * block of another actor, touches only the block and the page's record. When the extent is too
 * short, the blocks of a pending page move to the lists of sizes (the page is *settled*), page by
 * page, until there is a block that fits. So blocks that are taken in a row lie on one page, in
 * whatever order they were freed, and a page whose blocks are all freed in the meantime has never
 * been on those lists.
 *
 * When the extent is too short, its rest goes onto a list as well. The next extent is, in this
 * order: an empty page of the heap; the largest free block, after pending pages were settled, if it
 * is twice as large as what is wanted; a new page. Before a new page is taken, free blocks that lie
 * side by side are merged, and the largest is taken in any case, if a quarter of the heap is free
 * and the heap has grown by a quarter since the last merge.
 *
 * The lists of sizes are linked both ways, so that an empty page can leave them, to become an
 * extent or to be given back by `heap_sweep`. A page that becomes empty stays with its heap at
 * first, since it may be needed at once; when half of the pages are empty they are swept. The link
 * to the block before is valid only for blocks that are not the first of their list; a page's own
 * list has no such links.
 *
 * A heap outlives its account while there are blocks on its pages (*adopted*). Nothing is taken
 * from it any more, so its lists are forgotten. Every page that becomes empty is given back, and
 * the heap goes with the last page.
 *
 * The GIL protects everything here: the object and memory domains are called with it. Blocks are
 * memory, not objects: nothing here counts references. */

#ifndef ACTORKIT_HEAP_HEAPS_H
#define ACTORKIT_HEAP_HEAPS_H

#include "../interpreter/_python.h" /* first: it prepares Python.h */

#include <stdlib.h>
#include <string.h>

#include "_pages.h"

#ifdef HAVE_SLABS

#define GRANULE 16
#define CLASSES 33  /* blocks of 16, 32, ... 512 bytes; there is no class 0 */
#define LARGER 33   /* the list of free blocks that were merged into larger ones */
#define LISTS 34
#define EMPTIES 4   /* so many pages may be empty in any heap */
#define FIRST_LOOK 8 /* the account is due at so many pages; then at twice as many as the last look found */
#define PAGE_GRANULES (PAGE_BYTES / GRANULE)

struct Heap {
    void *free[LISTS];     /* the first free block of each size */
    Page *extent;          /* where the extent is, or NULL */
    char *bump, *bump_end; /* what is left of it */
    Page *warm;            /* the page that was settled last, or NULL */
    uint64_t freed;        /* granules that were freed; its account knows what was handed out */
    uint64_t pages;        /* how many it has */
    uint64_t empties;      /* how many of them have no block handed out */
    uint64_t merge_at;     /* from so many pages on, free blocks may be merged again */
    uint64_t look_at;      /* at so many pages its account is due again */
    char *due;             /* the flag of its account */
    uint64_t *elsewhere;   /* the account's counter of what others' pages had to serve */
    Links settled, pending, empty; /* the rings of its pages */
    Heap *next, *previous; /* among all heaps */
    bool adopted;          /* its account is gone */
};

static Heap *heaps;

/* Under AddressSanitizer free blocks are poisoned. Functions that it leaves alone read and write
   the links in them. */
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

/* --- Pages and the blocks in them ------------------------------------------------------------- */

static inline unsigned
granule_of(const void *block)
{
    return (unsigned)((uintptr_t)block % PAGE_BYTES / GRANULE);
}

static inline void
mark_start(Page *page, unsigned granule)
{
    page->starts[granule / 32] |= (uint32_t)1 << (granule & 31);
}

/* The size of a block of at most 512 bytes, in granules: the distance to where the next block
   begins. */
static inline unsigned
class_of_block(const Page *page, const void *block)
{
    unsigned after = granule_of(block) + 1;
    uint64_t starts;
    memcpy(&starts, (const char *)page->starts + after / 8, sizeof(starts));
    return (unsigned)__builtin_ctzll(starts >> (after & 7)) + 1;
}

/* The same for a block of any size. */
static unsigned
length_of_block(const Page *page, unsigned granule)
{
    unsigned after = granule + 1, word = after / 32;
    uint32_t starts = page->starts[word] & ~(uint32_t)0 << (after & 31);
    while (starts == 0) {
        starts = page->starts[++word];
    }
    return word * 32 + (unsigned)__builtin_ctz(starts) - granule;
}

static inline void *
block_at(Page *page, unsigned granule)
{
    return start_of(page) + (size_t)granule * GRANULE;
}

/* Put a free block onto the list of its size. */
static inline void
list_push(Heap *heap, Page *page, void *block, unsigned class)
{
    void *first = heap->free[class];
    set_next(block, first);
    if (first != NULL) {
        set_previous(first, block);
    }
    heap->free[class] = block;
    page->listed++;
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
ring_enter(Links *ring, Page *page)
{
    Links *links = links_of(page);
    links->previous = ring;
    links->next = ring->next;
    ring->next->previous = links;
    ring->next = links;
}

static void
ring_leave(Page *page)
{
    Links *links = links_of(page);
    links->previous->next = links->next;
    links->next->previous = links->previous;
}

static inline void
count_empty(Heap *heap, int64_t more)
{
    heap->empties += (uint64_t)more;
    slab_statistics.empty += (uint64_t)more * PAGE_BYTES;
}

/* An empty page gets its first block, which is returned. */
static __attribute__((noinline)) void *
page_begins(Heap *heap, Page *page, void *block)
{
    ring_leave(page);
    ring_enter(page->freed != NULL ? &heap->pending : &heap->settled, page);
    count_empty(heap, -1);
    return block;
}

/* Move what was freed on a page to the lists of sizes. */
static void
page_settle(Heap *heap, Page *page)
{
    void *next;
    for (void *block = page->freed; block != NULL; block = next) {
        next = next_of(block);
        list_push(heap, page, block, class_of_block(page, block));
    }
    page->freed = NULL;
}

static void
extent_set(Heap *heap, Page *page, char *start, size_t length)
{
    heap->extent = page;
    heap->bump = start;
    heap->bump_end = start + length;
    page->listed++;
}

/* There is no extent any more: what is left of it goes onto a list. */
static void
extent_end(Heap *heap)
{
    Page *page = heap->extent;
    if (page != NULL) {
        if (heap->bump < heap->bump_end) {
            list_push(heap, page, heap->bump, list_for((unsigned)(heap->bump_end - heap->bump) / GRANULE));
        }
        page->listed--;
        heap->extent = NULL;
        heap->bump = heap->bump_end = NULL;
    }
}

static void
warm_set(Heap *heap, Page *page)
{
    if (heap->warm != NULL) {
        heap->warm->listed--;
    }
    heap->warm = page;
    if (page != NULL) {
        page->listed++;
    }
}

/* Take the blocks of an empty page off all lists. */
static void
page_forget(Heap *heap, Page *page)
{
    if (heap->extent == page) {
        extent_end(heap);
    }
    if (heap->warm == page) {
        warm_set(heap, NULL);
    }
    if (page->listed == 0) {
        return;
    }
    page_settle(heap, page);
    for (unsigned granule = 0; granule < PAGE_GRANULES;) {
        unsigned length = length_of_block(page, granule);
        list_remove(heap, block_at(page, granule), list_for(length));
        granule += length;
    }
}

/* Make the page one free block that is on no list. */
static void
page_reset(Page *page)
{
    page->freed = NULL;
    page->used = page->listed = 0;
    memset(page->starts, 0, sizeof(page->starts));
    mark_start(page, 0);
    mark_start(page, PAGE_GRANULES);
    POISON(start_of(page), PAGE_BYTES);
}

/* Give a page back that is in no ring. */
static void
page_release(Heap *heap, Page *page)
{
    UNPOISON(start_of(page), PAGE_BYTES);
    page_give(page);
    heap->pages--;
    slab_statistics.pages -= PAGE_BYTES;
    if (heap->adopted) {
        slab_statistics.adopted -= PAGE_BYTES;
    }
}

/* --- Heaps ------------------------------------------------------------------------------------ */

static Heap *
heap_new(char *due, uint64_t *elsewhere)
{
    Heap *heap = calloc(1, sizeof(Heap));
    if (heap != NULL) {
        Links *rings[] = {&heap->settled, &heap->pending, &heap->empty};
        for (int i = 0; i < 3; i++) {
            rings[i]->next = rings[i]->previous = rings[i];
        }
        heap->due = due;
        heap->elsewhere = elsewhere;
        heap->look_at = FIRST_LOOK;
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

/* The bytes of all blocks that are handed out, summed up: its account knows it without that. */
static uint64_t
heap_live(const Heap *heap)
{
    uint64_t live = 0;
    const Links *rings[] = {&heap->settled, &heap->pending};
    for (int i = 0; i < 2; i++) {
        for (const Links *links = rings[i]->next; links != rings[i]; links = links->next) {
            live += page_with(links)->used;
        }
    }
    return live * GRANULE;
}

/* Give empty pages back. */
static void
heap_sweep(Heap *heap)
{
    while (heap->empty.next != &heap->empty) {
        Page *page = page_with(heap->empty.next);
        page_forget(heap, page);
        ring_leave(page);
        count_empty(heap, -1);
        page_release(heap, page);
    }
    if (heap->merge_at > heap->pages + heap->pages / 4) {
        heap->merge_at = heap->pages + heap->pages / 4;
    }
}

/* Its account is gone. */
static void
heap_abandon(Heap *heap)
{
    while (heap->empty.next != &heap->empty) {
        Page *page = page_with(heap->empty.next);
        ring_leave(page);
        count_empty(heap, -1);
        page_release(heap, page);
    }
    if (heap->pages == 0) {
        heap_free(heap);
        return;
    }
    heap->adopted = true;
    Links *rings[] = {&heap->settled, &heap->pending};
    for (int i = 0; i < 2; i++) {
        for (Links *links = rings[i]->next; links != rings[i]; links = links->next) {
            page_with(links)->listed = 0;
        }
    }
    slab_statistics.adopted += heap->pages * PAGE_BYTES;
}

/* Merge free blocks that lie side by side. There is no extent, and all pages are settled, so
   `freed` can point to bits that say which blocks of a page are free. */
static void
heap_merge(Heap *heap)
{
    typedef uint64_t Bits[PAGE_GRANULES / 64];
    Bits *free_blocks = calloc(heap->pages, sizeof(Bits));
    if (free_blocks == NULL) {
        return;
    }
    size_t pages = 0;
    for (Links *links = heap->settled.next; links != &heap->settled; links = links->next) {
        page_with(links)->freed = free_blocks[pages++];
    }
    for (unsigned class = 1; class < LISTS; class++) {
        for (void *block = heap->free[class]; block != NULL; block = next_of(block)) {
            unsigned granule = granule_of(block);
            ((uint64_t *)page_of(block)->freed)[granule / 64] |= (uint64_t)1 << (granule & 63);
        }
        heap->free[class] = NULL;
    }
    for (Links *links = heap->settled.next; links != &heap->settled; links = links->next) {
        Page *page = page_with(links);
        const uint64_t *is_free = page->freed;
        int first = -1; /* where a run of free blocks began */
        page->listed = 0;
        for (unsigned granule = 0;; granule += length_of_block(page, granule)) {
            bool free_here = granule < PAGE_GRANULES && (is_free[granule / 64] >> (granule & 63) & 1);
            if (!free_here && first >= 0) {
                list_push(heap, page, block_at(page, (unsigned)first), list_for(granule - (unsigned)first));
                first = -1;
            }
            else if (free_here && first >= 0) {
                page->starts[granule / 32] &= ~((uint32_t)1 << (granule & 31));
            }
            else if (free_here) {
                first = (int)granule;
            }
            if (granule == PAGE_GRANULES) {
                break;
            }
        }
        page->freed = NULL;
    }
    free(free_blocks);
}

/* Make the largest free block the extent, if it has at least so many granules. */
static bool
heap_reuse(Heap *heap, unsigned least)
{
    for (unsigned class = LARGER; class >= list_for(least); class--) {
        void *block = heap->free[class];
        if (block != NULL) {
            Page *page = page_of(block);
            heap->free[class] = next_of(block);
            page->listed--;
            extent_set(heap, page, block, (size_t)length_of_block(page, granule_of(block)) * GRANULE);
            return true;
        }
    }
    return false;
}

/* There is no block of this class on its list, and none can be cut off the extent: change one or
   the other. False: no page can be had. */
static __attribute__((noinline)) bool
heap_extend(Heap *heap, unsigned class)
{
    extent_end(heap);
    Page *page;
    if (heap->empty.next != &heap->empty) {
        page = page_with(heap->empty.next);
        page_forget(heap, page);
    }
    else {
        while (heap->pending.next != &heap->pending) {
            page = page_with(heap->pending.next);
            page_settle(heap, page);
            ring_leave(page);
            ring_enter(&heap->settled, page);
            warm_set(heap, page);
            if (heap->free[class] != NULL) {
                return true;
            }
        }
        if (heap_reuse(heap, 2 * class)) { /* of a smaller one hardly anything would be left */
            return true;
        }
        if (heap->pages >= heap->merge_at) {
            heap->merge_at = heap->pages + heap->pages / 4;
            if (heap_live(heap) < heap->pages * (PAGE_BYTES / 4 * 3)) {
                warm_set(heap, NULL);
                heap_merge(heap);
                if (heap_reuse(heap, class)) {
                    return true;
                }
            }
        }
        page = page_take();
        if (page == NULL) {
            return heap_reuse(heap, class);
        }
        page->heap = heap;
        ring_enter(&heap->empty, page);
        count_empty(heap, 1);
        heap->pages++;
        slab_statistics.pages += PAGE_BYTES;
        if (heap->pages >= heap->look_at) {
            heap->look_at = UINT64_MAX;
            __atomic_store_n(heap->due, 1, __ATOMIC_RELAXED);
        }
    }
    page_reset(page);
    extent_set(heap, page, start_of(page), PAGE_BYTES);
    return true;
}

/* --- Blocks ----------------------------------------------------------------------------------- */

static inline unsigned
class_of(size_t size)
{
    return (unsigned)((size + (size == 0) + GRANULE - 1) / GRANULE);
}

static void *slab_malloc_extended(Heap *heap, size_t size, const PyMemAllocatorEx *otherwise);

/* Allocate at most 512 bytes; from the other allocator if no page can be had. Rare cases are tail
   calls, so the rest needs no stack frame. */
static inline void *
slab_malloc(Heap *heap, size_t size, const PyMemAllocatorEx *otherwise)
{
    unsigned class = class_of(size);
    size_t bytes = (size_t)class * GRANULE;
    void *block = heap->free[class];
    Page *page;
    if (block != NULL) {
        heap->free[class] = next_of(block);
        page = page_of(block);
        page->listed--;
    }
    else {
        block = heap->bump;
        if (UNLIKELY((size_t)(heap->bump_end - heap->bump) < bytes)) {
            return slab_malloc_extended(heap, size, otherwise);
        }
        page = heap->extent;
        heap->bump += bytes;
        mark_start(page, granule_of(block) + class);
    }
    UNPOISON(block, bytes);
    unsigned before = page->used;
    page->used = before + class;
    if (UNLIKELY(before == 0)) {
        return page_begins(heap, page, block);
    }
    return block;
}

static __attribute__((noinline)) void *
slab_malloc_extended(Heap *heap, size_t size, const PyMemAllocatorEx *otherwise)
{
    if (heap_extend(heap, class_of(size))) {
        return slab_malloc(heap, size, otherwise);
    }
    STORE(*heap->elsewhere, *heap->elsewhere + (uint64_t)class_of(size) * GRANULE);
    heap->freed += class_of(size); /* its account counts it as handed out */
    return otherwise->malloc(otherwise->ctx, size);
}

/* The first block since it was settled has been freed on a page. */
static __attribute__((noinline)) void
page_pends(Heap *heap, Page *page)
{
    ring_leave(page);
    ring_enter(&heap->pending, page);
}

/* The last block of a page is gone. */
static __attribute__((noinline)) void
page_ends(Heap *heap, Page *page)
{
    ring_leave(page);
    if (!heap->adopted) {
        ring_enter(&heap->empty, page);
        count_empty(heap, 1);
        if (heap->empties > EMPTIES && heap->empties > heap->pages / 2) {
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
    unsigned class = class_of_block(page, block);
    bool pends = false;
    if (page->listed != 0) { /* its heap is at work here */
        list_push(page->heap, page, block, class);
    }
    else {
        pends = page->freed == NULL;
        set_next(block, page->freed);
        page->freed = block;
    }
    POISON(block, (size_t)class * GRANULE);
    page->used -= class;
    page->heap->freed += class;
    if (UNLIKELY(page->used == 0)) {
        page_ends(page->heap, page);
    }
    else if (UNLIKELY(pends)) {
        page_pends(page->heap, page);
    }
}

static inline size_t
slab_block_size(const void *block)
{
    return (size_t)class_of_block(page_of(block), block) * GRANULE;
}

/* --- Giving back ------------------------------------------------------------------------------ */

static uint64_t
slabs_live(void)
{
    uint64_t live = 0;
    for (Heap *heap = heaps; heap != NULL; heap = heap->next) {
        live += heap_live(heap);
    }
    return live;
}

/* Give free pages back to the system, for so many seconds. Returns the bytes that went. */
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
        if (!first && region->clean_pages == REGION_PAGES) {
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

/* Is this the interpreter's own allocator for small blocks? Any other may step out one day, and
   take the hooks above it along. */
static bool
is_pymalloc(const PyMemAllocatorEx *base)
{
    Dl_info interpreter, found;
    return base->ctx == NULL && dladdr((void *)(uintptr_t)PyObject_Malloc, &interpreter) != 0
           && dladdr((void *)(uintptr_t)base->malloc, &found) != 0 && found.dli_fbase == interpreter.dli_fbase;
}

#endif

#endif
