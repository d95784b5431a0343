/* What lies on an account's own pages, and a number for each object there. Part of _walk.c.
 *
 * Theory of operation. A heap of its own (`_heaps.h`) has pages of 4 KiB where nobody else has
 * blocks, so an address tells whose a small object is. Before a walk that knows the account, the
 * clock names the pages. Each gets a number; a table of 4,096 numbers for each region of 16 MiB
 * leads from an address to it, and a small hash table from an address to its region. An address
 * outside of the bounds of all pages costs one comparison.
 *
 * For the own pass each page has a *shadow*: a word for each 16 bytes, which is where an object may
 * begin. So the record of an object is found by its address, without a hash, and it costs four
 * bytes. A word of 0 says that the object was not met; another one has a count above
 * SHADOW_SHIFT, and flags below.
 *
 * Whether something lies on own pages is a hint for the order of things, never a proof: free lists
 * of the interpreter mix the blocks of all actors, and an adapter, which is Python code, may change
 * what lies where in the middle of a walk.
 *
 * Memory comes from malloc. The tables of a small walk are kept for the next one. */

#ifndef ACTORKIT_HEAP_OWN_PAGES_H
#define ACTORKIT_HEAP_OWN_PAGES_H

#include "_compiler.h"
#include "_contract.h"

#include <stdlib.h>
#include <string.h>

enum {
    OWN_PAGE_BITS = 12,     /* of an address within its page */
    OWN_REGION_BITS = 24,   /* of an address within its region */
    OWN_REGION_PAGES = 1 << (OWN_REGION_BITS - OWN_PAGE_BITS),
    OWN_WORDS = 1 << (OWN_PAGE_BITS - 4),  /* of the shadow of a page */
    KEPT_REGIONS = 8,
    KEPT_PAGES = 256
};

/* `numbers`: 1 + the number of each page, or 0. NULL: this slot is free. */
typedef struct {
    uintptr_t region;
    uint32_t *numbers;
} OwnRegion;

typedef struct {
    uintptr_t lowest, span; /* of the addresses of all pages; no page: the span is 0 */
    OwnRegion *regions;     /* open addressing */
    size_t region_mask, region_count;
    uintptr_t *pages;       /* the address of each */
    size_t page_count, page_size;
    uintptr_t last;         /* the page that was asked about last, its address shifted */
    const void *ledger;     /* of the account; NULL: it has none */
    uint32_t *shadows;      /* OWN_WORDS for each page, or NULL */
    int no_memory;
} OwnPages;

static const HeapOwners *owners; /* the clock's; NULL without it. Found when the module is loaded */

static inline size_t
region_slot(uintptr_t region)
{
    return (size_t)((uint64_t)region * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

/* The slot of a region, or the free one where it belongs. */
static inline OwnRegion *
find_region(const OwnPages *own, uintptr_t region)
{
    size_t slot = region_slot(region) & own->region_mask;
    while (own->regions[slot].numbers != NULL && own->regions[slot].region != region) {
        slot = (slot + 1) & own->region_mask;
    }
    return &own->regions[slot];
}

/* 1 + the number of the own page on which an object lies; 0: it lies elsewhere. */
static inline uint32_t
own_page_of(const OwnPages *own, const void *object)
{
    uintptr_t address = (uintptr_t)object;
    if (address - own->lowest >= own->span) {
        return 0;
    }
    const OwnRegion *region = find_region(own, address >> OWN_REGION_BITS);
    return region->numbers == NULL ? 0 : region->numbers[(address >> OWN_PAGE_BITS) & (OWN_REGION_PAGES - 1)];
}

/* The same as yes or no, quick when neighbours are asked about in a row. */
static inline int
is_on_own_page(OwnPages *own, const void *object)
{
    if (LIKELY((uintptr_t)object >> OWN_PAGE_BITS == own->last)) {
        return 1;
    }
    if (own_page_of(own, object)) {
        own->last = (uintptr_t)object >> OWN_PAGE_BITS;
        return 1;
    }
    return 0;
}

/* Where the word of an object is; NULL: it lies elsewhere. */
static inline uint32_t *
shadow_of(const OwnPages *own, const void *object)
{
    uint32_t number = own_page_of(own, object);
    if (number == 0) {
        return NULL;
    }
    size_t granule = ((uintptr_t)object & ((1 << OWN_PAGE_BITS) - 1)) >> 4;
    return &own->shadows[(size_t)(number - 1) * OWN_WORDS + granule];
}

/* The object whose word this is. */
static inline PyObject *
object_of_shadow(const OwnPages *own, size_t word)
{
    return (PyObject *)(own->pages[word / OWN_WORDS] + word % OWN_WORDS * 16);
}

static int
widen_regions(OwnPages *own)
{
    size_t slots = own->regions == NULL ? 2 * KEPT_REGIONS : 2 * (own->region_mask + 1);
    OwnRegion *old = own->regions, *wider = calloc(slots, sizeof *wider);
    if (wider == NULL) {
        return 0;
    }
    size_t before = old == NULL ? 0 : own->region_mask + 1;
    own->regions = wider;
    own->region_mask = slots - 1;
    for (size_t i = 0; i < before; i++) {
        if (old[i].numbers != NULL) {
            *find_region(own, old[i].region) = old[i];
        }
    }
    free(old);
    return 1;
}

/* Called by the clock for each page of the heap. */
static void
add_own_page(void *context, const void *page)
{
    OwnPages *own = context;
    uintptr_t address = (uintptr_t)page;
    if (own->page_count == own->page_size) {
        size_t larger = own->page_size ? 2 * own->page_size : 64;
        uintptr_t *moved = realloc(own->pages, larger * sizeof *moved);
        own->no_memory |= moved == NULL;
        if (moved != NULL) {
            own->pages = moved;
            own->page_size = larger;
        }
    }
    if (own->regions == NULL || 2 * own->region_count > own->region_mask) {
        own->no_memory |= !widen_regions(own);
    }
    if (own->no_memory) {
        return;
    }
    OwnRegion *region = find_region(own, address >> OWN_REGION_BITS);
    if (region->numbers == NULL) {
        region->region = address >> OWN_REGION_BITS;
        region->numbers = calloc(OWN_REGION_PAGES, sizeof *region->numbers);
        if (region->numbers == NULL) {
            own->no_memory = 1;
            return;
        }
        own->region_count++;
    }
    own->pages[own->page_count++] = address;
    region->numbers[(address >> OWN_PAGE_BITS) & (OWN_REGION_PAGES - 1)] = (uint32_t)own->page_count;
    uintptr_t lowest = own->span == 0 || address < own->lowest ? address : own->lowest;
    uintptr_t end = own->span == 0 ? address : own->lowest + own->span;
    end = end < address + (1 << OWN_PAGE_BITS) ? address + (1 << OWN_PAGE_BITS) : end;
    own->lowest = lowest;
    own->span = end - lowest;
}

/* Learn which pages are the account's own, and its ledger. 0 if there is no memory. */
static int
learn_own_pages(OwnPages *own, PyObject *account)
{
    const void *heap = owners == NULL ? NULL : owners->heap_of_account(account);
    own->ledger = owners == NULL ? NULL : owners->ledger_of_account(account);
    if (heap != NULL) {
        owners->pages_of_heap(heap, add_own_page, own);
    }
    return !own->no_memory;
}

/* Give each page its shadow. 0 if there is no memory. */
static int
cast_shadows(OwnPages *own)
{
    if (own->page_count != 0) {
        own->shadows = calloc(own->page_count * OWN_WORDS, sizeof *own->shadows);
    }
    return own->page_count == 0 || own->shadows != NULL;
}

static void
free_regions(OwnPages *own)
{
    for (size_t i = 0; own->regions != NULL && i <= own->region_mask; i++) {
        free(own->regions[i].numbers);
    }
    free(own->regions);
    own->regions = NULL;
    own->region_count = 0;
}

/* Forget all pages. */
static void
forget_own_pages(OwnPages *own)
{
    for (size_t i = 0; i < own->page_count; i++) {
        OwnRegion *region = find_region(own, own->pages[i] >> OWN_REGION_BITS);
        region->numbers[(own->pages[i] >> OWN_PAGE_BITS) & (OWN_REGION_PAGES - 1)] = 0;
    }
    if (own->region_count > KEPT_REGIONS) {
        free_regions(own);
    }
    if (own->page_size > KEPT_PAGES) {
        free(own->pages);
        own->pages = NULL;
        own->page_size = 0;
    }
    free(own->shadows);
    own->shadows = NULL;
    own->ledger = NULL;
    own->page_count = 0;
    own->lowest = own->span = own->last = 0;
    own->no_memory = 0;
}

static void
free_own_pages(OwnPages *own)
{
    forget_own_pages(own);
    free_regions(own);
    free(own->pages);
}

#endif
