//! Tests that step into an apply, that need another user or another disk, or that compare whole trees.

mod crashes;
mod denied;
mod disks;
pub(crate) mod ground;
mod hints;
mod names;
mod oracle;
mod parsing;
mod roots;
mod strangers;
mod transitions;
