//! How much one render may use. Beyond a bound the render fails with a finding; nothing is cut short. The memory of
//! values inside a template program is not bounded here: that takes a process of its own, in the sandbox.

/// Entries of one bundle. A bigger tree is several stacks.
pub const MAX_ENTRIES: usize = 250_000;

/// Bytes of one file that is read whole, to be hashed or sealed. Files of a `folder`, whose digest is known, pass through.
pub const MAX_FILE: u64 = 512 << 20;

/// Bytes of files in memory at the same time while they are hashed; one larger file is read alone.
pub const IN_FLIGHT: u64 = 32 << 20;

/// Threads that read, hash and render. Rendering shares the machine with every other stack.
pub const THREADS: usize = 4;

/// Bytes of one template's text, and of one file that a template includes.
pub const MAX_TEMPLATE: u64 = 1 << 20;

/// Bytes that one template may write.
pub const MAX_OUTPUT: usize = 16 << 20;

/// Bytes that all templates of a render may write: they are held in memory until they are kept as blobs.
pub const MAX_OUTPUTS: u64 = 128 << 20;

/// Steps of one template's program: enough for some 50,000 lines written in a loop.
pub const FUEL: u64 = 500_000;

/// How deep includes, macros and loops may nest: an include counts ten, a macro four.
pub const RECURSION: usize = 200;

/// Stack of a thread that renders templates. A program of [`FUEL`] steps can nest a value that deep, and writing,
/// comparing or dropping it takes up to 600 bytes a level. Only what is used is ever backed by memory.
pub const STACK: usize = 512 << 20;

/// Missing names of one template that are looked for beyond the first.
pub const MISSING: usize = 20;
