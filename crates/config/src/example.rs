//! The file that `trued init` writes.

/// A small, commented configuration that passes `check` as it is, beside a folder `site`.
pub fn example() -> &'static str {
    r#"# What this folder keeps true, and where. `trued plan` shows what would be done; it changes nothing.
# All keys: `trued schema`. What is in force, and where each value comes from: `trued config show`.

stacks:
  homepage:
    # The folder that is wanted, in this folder or repository.
    path: site

    # Where it lands. `create: true` makes the root; without it, a missing root may be an unmounted disk and waits.
    target: { files: { root: www, create: true } }

    # When somebody changes it by hand: revert (put it back), alert (report it), hold (report it and wait).
    drift: revert

    # Programs run once after changes, each as a list of arguments.
    # on_change: [[systemctl, reload, nginx]]

    # Does it work? A release whose checks pass is verified: rollback goes to such a one.
    # verify: [{ http: { url: "http://127.0.0.1/" } }]

    # Some files are never deleted, even when they are no longer wanted: retain or report.
    # on_delete: { "uploads/**": retain }
"#
}
