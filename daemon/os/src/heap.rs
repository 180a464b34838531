//! How the allocator deals with large blocks, and with what is left of small ones.

/// From this size on a block is mapped for itself, in bytes: what is not touched costs nothing, and what is freed goes back
/// to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 64 * 1024;

/// Keeps glibc from moving its bound for large blocks up to the largest that was ever freed. It would then cut buffers,
/// each of which most is never used, out of the heap, zero them byte by byte, and keep the holes that they leave.
///
/// Other allocators are left as they are. Call it before any thread runs.
pub fn map_large_blocks() {
    // SAFETY: mallopt takes two integers by value. It is refused for values that make no sense only, which this is not.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives pages back that hold nothing any more: what many handshakes at once have used and freed lies between what stays.
/// Takes some milliseconds for a heap of 100 MiB, during which others wait for memory.
pub fn give_back() {
    // SAFETY: malloc_trim takes an integer by value, locks the heap itself, and touches freed blocks only.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const BLOCK: usize = 512 * 1024;
    /// What is resident belongs to the process, so one test looks at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    /// Private resident memory in bytes.
    fn resident() -> Option<usize> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<usize>().ok()? * 1024)
    }

    #[test]
    fn freed_pages_between_blocks_that_stay_go_back() {
        const SMALL: usize = 16 * 1024;
        let _alone = ALONE.lock();
        let before = resident().unwrap();
        let (blocks, pins): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (0..2048).map(|_| (vec![1; SMALL], vec![1; 64])).unzip();
        drop(std::hint::black_box(blocks));
        assert!(resident().unwrap() >= before + 1024 * SMALL, "the allocator keeps them");
        give_back();
        assert!(resident().unwrap() < before + 1024 * SMALL);
        drop(std::hint::black_box(pins));
    }

    #[test]
    fn large_blocks_that_are_freed_go_back_and_cost_nothing_until_they_are_touched() {
        let _alone = ALONE.lock();
        map_large_blocks();
        // What would move the bound.
        drop(std::hint::black_box(vec![1_u8; 16 * BLOCK]));
        let before = resident().unwrap();
        let (blocks, pins): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (0..64).map(|_| (vec![1; BLOCK], vec![1; 64])).unzip();
        assert!(resident().unwrap() >= before + 60 * BLOCK, "they were written to");
        drop(std::hint::black_box(blocks));
        let again: Vec<Vec<u8>> = (0..64).map(|_| vec![0; BLOCK]).collect();
        let (kept, pins) = (std::hint::black_box(again).len(), std::hint::black_box(pins).len());
        assert!(
            kept == pins && resident().unwrap() < before + 16 * BLOCK,
            "{} and now {}",
            before,
            resident().unwrap()
        );
    }
}
