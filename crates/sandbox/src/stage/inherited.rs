//! Open files a program must not inherit. The one place with `unsafe`: no crate has this call.

/// Marks every open file but the standard three, so that no program started from here gets it.
pub fn keep_to_ourselves() {
    // SAFETY: the call takes three numbers and touches no memory; marking a descriptor does not close it.
    #[expect(unsafe_code, reason = "the system call has no safe wrapper")]
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // A kernel before 5.11 does not know the flag, and every file of ours is marked when it is opened: what is left is
    // what somebody else handed to us.
    let _ = done;
}
