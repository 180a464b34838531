//! The caller's memory as slices and references: the only place that trusts a pointer.

use crate::status::Failure;

/// The caller's bytes; none at all may have a null pointer.
///
/// # Safety
/// `data` is null or points at `length` bytes that nobody writes while the slice lives.
pub(crate) unsafe fn read<'a>(data: *const u8, length: usize) -> Result<&'a [u8], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(Failure::Argument);
    }
    // SAFETY: not null, not longer than an object can be; the rest is the caller's promise, and bytes have no alignment.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// The caller's bytes to write to.
///
/// # Safety
/// `data` is null or points at `length` initialised bytes that nobody else uses while the slice lives.
pub(crate) unsafe fn write<'a>(data: *mut u8, length: usize) -> Result<&'a mut [u8], Failure> {
    if length == 0 {
        return Ok(&mut []);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(Failure::Argument);
    }
    // SAFETY: as in `read`, and nobody else uses the bytes.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, length) })
}

/// One value of the caller's.
///
/// # Safety
/// `value` is null or points at an aligned, initialised value that nobody else uses while the reference lives.
pub(crate) unsafe fn value<'a, T>(value: *mut T) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { value.as_mut() }.ok_or(Failure::Argument)
}

/// Copies `from` to the beginning of `to` and says how long it is, also when it does not fit.
pub(crate) fn copy(from: &[u8], to: &mut [u8], written: &mut usize) -> Result<(), Failure> {
    *written = from.len();
    to.get_mut(..from.len()).ok_or(Failure::NoRoom)?.copy_from_slice(from);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_08_null_and_impossible_lengths_are_refused() {
        // SAFETY: null and lengths that no object has are what the functions refuse before they look.
        unsafe {
            assert_eq!(read(std::ptr::null(), 0), Ok(&[][..]));
            assert_eq!(read(std::ptr::null(), 1), Err(Failure::Argument));
            assert_eq!(read(std::ptr::dangling(), usize::MAX), Err(Failure::Argument));
            assert_eq!(write(std::ptr::null_mut(), 1), Err(Failure::Argument));
            assert_eq!(write(std::ptr::dangling_mut(), usize::MAX), Err(Failure::Argument));
            assert_eq!(value::<u32>(std::ptr::null_mut()), Err(Failure::Argument));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written_but_its_length_is_told() {
        let (mut memory, mut written) = ([7; 4], 0);
        assert_eq!(copy(b"abc", &mut memory, &mut written), Ok(()));
        assert_eq!((&memory, written), (b"abc\x07", 3));
        assert_eq!(copy(b"12345", &mut memory, &mut written), Err(Failure::NoRoom));
        assert_eq!((&memory, written), (b"abc\x07", 5));
    }
}
