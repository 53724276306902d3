//! Tests that step into an apply, that need another user or another disk, or that compare whole trees.

mod carried;
mod crashes;
mod denied;
mod disks;
mod elsewhere;
mod glances;
pub(crate) mod ground;
mod hints;
mod modes;
mod names;
mod oracle;
mod parsing;
mod race;
mod roots;
mod strangers;
mod transitions;
