//! What a target says a change would come to, before anything is written. Values only.

/// What would come of a change, where that is not just what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preview {
    /// It cannot be changed in place. Made anew it would be taken.
    Anew {
        /// What cannot be changed.
        why: String,
        /// Why it may not be removed without a person's yes, whatever the policy says: what is stored would go with it.
        guarded: Option<String>,
    },
    /// It would take from others what is theirs.
    Conflict(String),
    /// It carries the mark of another record, or of a stack whose target leads to the same place.
    Marked(String),
    /// It would be refused as it is written.
    Refused { why: String, help: String },
}
