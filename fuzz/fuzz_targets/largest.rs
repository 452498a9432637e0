//! An allocator that has a bound on one allocation, so that "as much as the bytes claim" is a finding and not a quiet success.

use std::alloc::{GlobalAlloc, Layout, System};

/// Far more than anything of ours takes for an input of 64 KiB. (What the codecs written in C take is not seen here.)
const LARGEST: usize = 32 << 20;

struct Largest;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert_bound(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        assert_bound(size);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

fn assert_bound(size: usize) {
    if size > LARGEST {
        eprintln!("one allocation of {size} bytes");
        std::process::abort();
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;
