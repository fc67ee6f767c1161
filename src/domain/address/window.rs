//! A fixed number of bytes from where an address begins, so that it can be looked at in a few wide
//! registers whatever its length. What follows the address in there means nothing.

/// The `N` bytes of `column` from `start` on; zeros in `room` stand for what lies past its end.
#[inline(always)]
pub(super) fn window<'a, const N: usize>(
    column: &'a [u8],
    start: usize,
    room: &'a mut [u8; N],
) -> &'a [u8; N] {
    let rest = column.get(start..).unwrap_or_default();
    match rest.first_chunk() {
        Some(whole) => whole,
        None => {
            room.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            room
        }
    }
}
