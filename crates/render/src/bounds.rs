//! How much one render may use. Beyond a bound the render fails with a finding; nothing is cut short.

use trued_model::Size;

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

/// Bytes of all templates of a render and what they include: they are handed to the process that writes them.
pub const MAX_TEXTS: u64 = 64 << 20;

/// Bytes that one template may write.
pub const MAX_OUTPUT: usize = 16 << 20;

/// Bytes that all templates of a render may write: they are held in memory until they are kept as blobs.
pub const MAX_OUTPUTS: u64 = 128 << 20;

/// Steps of one template's program: enough for some 50,000 lines written in a loop.
pub const FUEL: u64 = 500_000;

/// How deep includes, macros and loops may nest: an include counts ten, a macro four.
pub const RECURSION: usize = 200;

/// The most memory that the process may take which writes the templates of a render; less where the stack's limits say so.
/// It is a process so that this can be bounded: a text that is doubled in a loop takes few steps.
pub const MEMORY: Size = Size::mib(512);

/// Stack of the thread that writes templates, no more than the memory it may take. A program of [`FUEL`] steps can nest a
/// value that deep, and writing, comparing or dropping it takes up to 600 bytes a level. Only what is used is ever backed by
/// memory.
pub const STACK: usize = 512 << 20;

/// How often templates are written anew because they ask for files by names that could not be seen beforehand.
pub const ROUNDS: usize = 6;

/// The most names of such files, and the longest.
pub const WANTS: usize = 10_000;
pub const LONGEST_NAME: usize = 4096;

/// Missing names of one template that are looked for beyond the first.
pub const MISSING: usize = 20;
