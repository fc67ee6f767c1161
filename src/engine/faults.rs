//! Memory that changes by itself, for tests.

use std::ptr;

use super::page::{Form, Page};
use super::plane::Plane;

/// The bits of a page that can flip: those of what it holds, and those of its index.
pub fn bits(page: &Page) -> usize {
    48 + match page.form() {
        Form::Inline(lanes) => 8 * size_of_val(lanes),
        Form::Thin(slice) => 8 * size_of_val(slice),
        Form::Dense(words) => 8 * size_of_val(words),
    }
}

/// Flips a bit of a page that a plane holds: one of its index, or one of what it holds.
///
/// # Panics
/// There is no such page or bit.
pub fn flip(plane: &Plane, page: u64, bit: usize) {
    let page = plane.page(page).expect("the page to be changed");
    let Some(bit) = bit.checked_sub(48) else { return flip_index(page, bit) };
    match page.form() {
        Form::Inline(lanes) => flip_in(ptr::from_ref(lanes).cast(), size_of_val(lanes), bit),
        Form::Thin(slice) => flip_in(slice.as_ptr().cast(), size_of_val(slice), bit),
        Form::Dense(words) => flip_in(words.as_ptr().cast(), size_of_val(words), bit),
    }
}

/// The index stands above the count in one of the two words of a page.
fn flip_index(page: &Page, bit: usize) {
    let head = page.index() << 16 | page.code() as u64;
    let words = ptr::from_ref(page).cast::<u64>();
    // SAFETY: a page is two words, aligned as such, that are both initialised.
    let at = (0..2).find(|at| unsafe { words.add(*at).read() } == head);
    // SAFETY: as above; the word was found within the page.
    flip_in(unsafe { words.add(at.expect("a head")) }.cast(), 8, 16 + bit);
}

fn flip_in(bytes: *const u8, len: usize, bit: usize) {
    assert!(bit / 8 < len);
    let byte = bytes.cast_mut().wrapping_add(bit / 8);
    // SAFETY: the byte is within memory that the caller borrows. It is written although it is
    // shared, which is what a memory fault does; nobody else reads it meanwhile in a test, and a
    // volatile access is not optimised on the assumption that it cannot happen.
    unsafe { byte.write_volatile(byte.read_volatile() ^ 1 << (bit % 8)) };
}
