//! Where a test may step into an apply: to stop it as a crash would, to fail a call, to play the stranger.
//! Outside of tests there is nothing here.

/// A moment during an apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The mark is about to be written.
    Marking,
    /// A content has been staged.
    Staged,
    /// What was staged is about to be made durable.
    Settling,
    /// A folder on the way is about to be made.
    Folder,
    /// A target was found as expected and is about to be changed.
    Checked,
    /// Something is about to be renamed in a way that not every file system knows.
    Renaming,
    /// Old and new have changed places, and what came out has not been looked at.
    Swapped,
    /// A change is in place.
    Placed,
    /// All changes are in place; their folders are about to be made durable.
    Closing,
    /// All is durable; what was staged is about to be removed.
    Sweeping,
}

#[derive(Clone, Default)]
pub(crate) struct Probe {
    #[cfg(test)]
    pub step_in: Option<std::sync::Arc<dyn Fn(Moment) -> rustix::io::Result<()> + Send + Sync>>,
}

impl Probe {
    #[cfg(test)]
    pub fn at(&self, moment: Moment) -> rustix::io::Result<()> {
        self.step_in.as_ref().map_or(Ok(()), |step_in| step_in(moment))
    }

    #[cfg(not(test))]
    #[inline]
    pub fn at(&self, _: Moment) -> rustix::io::Result<()> {
        Ok(())
    }
}
