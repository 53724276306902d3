//! How the allocator of the system shares memory out to threads. The one place of this crate with `unsafe`.

/// Arenas that all threads share. By itself glibc makes eight for each core, and what a walk has freed in one is no use to a
/// walk on another thread: with a thousand stacks that is a third more memory.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Has all threads share few arenas: where stacks are walked. Who proves a record makes and frees millions of small things on all
/// cores at once, and would wait for a lock at each. To be called before there are threads.
pub fn share() {
    // SAFETY: the call takes two numbers and changes a setting of the allocator, before any other thread could use it.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator's settings have no safe wrapper")]
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}
