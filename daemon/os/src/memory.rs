//! Memory for long-lived secrets (protocol.md 9): locked, between guard pages, out of core dumps and of forked
//! children, wiped when a secret is dropped.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, mprotect, munmap};
use node::secret::{SecretKey32, SecretSlot, SecretStore, StoreError, StoredSecret};
use zeroize::Zeroize;

const SLOT: usize = 32;

/// Whether the kernel locked the pages into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It did: the secrets are never swapped out.
    Yes,
    /// It did not (a limit on locked memory); everything else holds.
    No,
}

/// What to do with pages that the kernel does not lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfUnlocked {
    /// Use them; [`LockedStore::locked`] says so.
    Use,
    /// Keep no secret in them.
    Refuse,
}

/// A [`SecretStore`] of one region of pages, and of further ones when it is full.
pub struct LockedStore {
    arenas: Mutex<Vec<Arc<Arena>>>,
    if_unlocked: IfUnlocked,
}

struct Arena {
    /// The first guard page.
    base: NonNull<libc::c_void>,
    page: usize,
    /// Bytes between the guard pages.
    length: usize,
    locked: Locked,
    /// Which slots are free.
    free: Mutex<Vec<usize>>,
}

// SAFETY: the region is plain memory that lives as long as the arena; each slot is handed to one owner at a time under
// the lock of `free`, so no two threads touch the same bytes.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl LockedStore {
    /// Maps room for at least `secrets` secrets; more is mapped when that is taken.
    ///
    /// # Errors
    /// [`StoreError`] when the pages cannot be mapped or protected, or not locked under [`IfUnlocked::Refuse`].
    pub fn new(secrets: usize, if_unlocked: IfUnlocked) -> Result<Self, StoreError> {
        let first = Arena::map(secrets.max(1) * SLOT, if_unlocked)?;
        Ok(Self { arenas: Mutex::new(vec![Arc::new(first)]), if_unlocked })
    }

    /// Whether every page is locked.
    pub fn locked(&self) -> Locked {
        let all = self.lock().iter().all(|arena| arena.locked == Locked::Yes);
        if all { Locked::Yes } else { Locked::No }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Arena>>> {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arena {
    fn map(bytes: usize, if_unlocked: IfUnlocked) -> Result<Self, StoreError> {
        let page = page_size();
        let length = bytes.next_multiple_of(page);
        let total = NonZeroUsize::new(length + 2 * page).ok_or_else(|| StoreError("no room".into()))?;
        let fail = |what: &str, error: nix::errno::Errno| StoreError(format!("{what}: {error}"));
        let (rights, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(None, total, rights, flags) }.map_err(|e| fail("mmap", e))?;
        let free = Mutex::new((0..length / SLOT).rev().collect());
        let mut arena = Self { base, page, length, locked: Locked::Yes, free };
        for guard in [base, arena.at(length)] {
            // SAFETY: both guard pages lie inside the mapping, are page-aligned, and hold nothing.
            unsafe { mprotect(guard, page, ProtFlags::PROT_NONE) }.map_err(|e| fail("mprotect", e))?;
        }
        // SAFETY: the range between the guard pages is mapped.
        let locked = unsafe { mlock(arena.at(0), length) };
        if let Err(error) = locked {
            if if_unlocked == IfUnlocked::Refuse {
                return Err(fail("secrets cannot be locked into memory", error));
            }
            arena.locked = Locked::No;
        }
        arena.keep_out_of_dumps();
        Ok(arena)
    }

    /// A free slot, until it is dropped.
    fn take(self: &Arc<Self>) -> Option<Slot> {
        let index = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Slot { arena: Arc::clone(self), index })
    }

    /// The address `offset` bytes behind the first guard page; `offset` ≤ `length`.
    fn at(&self, offset: usize) -> NonNull<libc::c_void> {
        // SAFETY: one page plus at most `length` bytes stay inside the mapping of `length` plus two pages.
        unsafe { self.base.byte_add(self.page + offset) }
    }

    #[cfg(target_os = "linux")]
    fn keep_out_of_dumps(&self) {
        use nix::sys::mman::{MmapAdvise, madvise};
        for advice in [MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_WIPEONFORK] {
            // SAFETY: the range is mapped and neither advice changes what this process reads. An old kernel that
            // refuses one leaves the memory usable; core dumps are off anyway (`harden`).
            let _ = unsafe { madvise(self.at(0), self.length, advice) };
        }
    }

    /// macOS has no such advice; core dumps are off (`harden`) and the daemon does not fork.
    #[cfg(target_os = "macos")]
    fn keep_out_of_dumps(&self) {}
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone: every slot holds an `Arc` of the arena, so none is left.
        let _ = unsafe { munmap(self.base, self.length + 2 * self.page) };
    }
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(16_384)
}

impl SecretStore for LockedStore {
    fn keep(&self, secret: SecretKey32) -> Result<StoredSecret, StoreError> {
        let mut arenas = self.lock();
        let mut slot = match arenas.iter().find_map(Arena::take) {
            Some(slot) => slot,
            None => {
                // As much again as there is, so that a growing daemon does not map region after region.
                let bytes = arenas.iter().map(|arena| arena.length).sum();
                let further = Arc::new(Arena::map(bytes, self.if_unlocked)?);
                let slot = further.take().ok_or_else(|| StoreError("a fresh region has no room".into()))?;
                arenas.push(further);
                slot
            }
        };
        drop(arenas);
        slot.bytes_mut().copy_from_slice(secret.expose());
        Ok(StoredSecret::new(Box::new(slot)))
    }
}

struct Slot {
    arena: Arc<Arena>,
    index: usize,
}

impl Slot {
    fn address(&self) -> NonNull<[u8; SLOT]> {
        self.arena.at(self.index * SLOT).cast()
    }

    fn bytes_mut(&mut self) -> &mut [u8; SLOT] {
        // SAFETY: the slot is ours until it is dropped, lies inside the mapping, and bytes need no alignment.
        unsafe { self.address().as_mut() }
    }
}

impl SecretSlot for Slot {
    fn expose(&self) -> &[u8; 32] {
        // SAFETY: as in `bytes_mut`; shared references last no longer than `self`.
        unsafe { self.address().as_ref() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        self.arena.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_and_are_wiped_when_dropped() {
        let store = LockedStore::new(2, IfUnlocked::Use).unwrap();
        let kept = store.keep(SecretKey32::new([0x5a; 32])).unwrap();
        let address: *const [u8; 32] = kept.expose();
        assert_eq!(kept.expose(), &[0x5a; 32]);
        drop(kept);
        // SAFETY: the store is alive, so its pages are still mapped and readable.
        assert_eq!(unsafe { address.read_volatile() }, [0; 32]);
    }

    #[test]
    fn a_full_store_grows_and_a_dropped_secret_makes_room() {
        let store = LockedStore::new(1, IfUnlocked::Use).unwrap();
        let places = store.lock()[0].length / SLOT;
        let mut kept: Vec<_> = (0..places).map(|_| store.keep(SecretKey32::new([1; 32])).unwrap()).collect();
        assert_eq!(store.lock().len(), 1);
        kept.push(store.keep(SecretKey32::new([2; 32])).unwrap());
        assert_eq!(store.lock().len(), 2);
        assert!(kept[..places].iter().all(|secret| *secret.expose() == [1; 32]));
        assert_eq!(*kept[places].expose(), [2; 32]);
        kept.remove(0);
        kept.push(store.keep(SecretKey32::new([3; 32])).unwrap());
        assert_eq!(store.lock().len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_kernel_does_not_lock_is_used_or_refused_as_asked() {
        // The limit on locked memory is the process's: another process, so that no other test meets it.
        const WITHOUT: &str = "CRYPRQ_TEST_WITHOUT_LOCKED_MEMORY";
        if std::env::var_os(WITHOUT).is_some() {
            nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK, 0, 0).unwrap();
            caps::clear(None, caps::CapSet::Effective).unwrap();
            assert_eq!(LockedStore::new(1, IfUnlocked::Use).unwrap().locked(), Locked::No);
            let refused = LockedStore::new(1, IfUnlocked::Refuse).err().unwrap().to_string();
            assert!(refused.contains("cannot be locked"), "{refused}");
            return;
        }
        let this = "memory::tests::what_the_kernel_does_not_lock_is_used_or_refused_as_asked";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        assert!(again.args(["--exact", this]).env(WITHOUT, "1").status().unwrap().success());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_pages_are_out_of_dumps_and_of_forked_children() {
        let store = LockedStore::new(1, IfUnlocked::Use).unwrap();
        let locked = store.locked();
        let arena = Arc::clone(&store.lock()[0]);
        let start = format!("{:x}-", arena.at(0).as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let region = maps.split(&start).nth(1).expect("the region is mapped by itself, between its guards");
        let flags = region.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        for flag in ["dd", "wf"].into_iter().chain((locked == Locked::Yes).then_some("lo")) {
            assert!(flags.split_whitespace().any(|f| f == flag), "{flag} in {flags}");
        }
    }
}
